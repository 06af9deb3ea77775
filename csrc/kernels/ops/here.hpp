// loaded_here(p) is p, but what it points at is loaded where it is asked for. Left alone, GCC loads a table of more vectors than there are
// registers before the loop and keeps it on the stack: as many loads in the loop as without, and as many stores before it.
#pragma once

namespace vsearch::kernel_ops {
namespace {

template <class Element>
inline const Element* loaded_here(const Element* p) {
#if defined(__GNUC__) || defined(__clang__)
    asm volatile("" : "+r"(p));
#endif
    return p;
}

}  // namespace
}  // namespace vsearch::kernel_ops
