// Seeds from seeds: what is drawn at random does not depend on threads where every part of the work has a seed of its own.
#pragma once

#include <cstdint>

namespace vsearch {

// splitmix64 (Steele et al., OOPSLA 2014).
inline std::uint64_t mixed(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

}  // namespace vsearch
