// Packed bitmaps by slot (little bit order), read 64 slots at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vsearch {

inline unsigned lowest_bit64(std::uint64_t word) {
#if defined(__GNUC__)
    return static_cast<unsigned>(__builtin_ctzll(word));
#else
    unsigned i = 0;
    while (!(word >> i & 1u)) ++i;
    return i;
#endif
}

inline unsigned count_bits64(std::uint64_t word) {
#if defined(__GNUC__)
    return static_cast<unsigned>(__builtin_popcountll(word));
#else
    unsigned count = 0;
    for (; word != 0; word &= word - 1) ++count;
    return count;
#endif
}

// The bits of slots first .. first + 63 (first a multiple of 8), zero from `end` on; reads no byte beyond those of [0, end).
inline std::uint64_t filter_word(const std::uint8_t* bitmap, std::size_t first, std::size_t end) {
    std::uint64_t word = 0;
    const std::size_t bits = end - first < 64 ? end - first : 64;
    for (std::size_t byte = 0; byte < (bits + 7) / 8; ++byte) word |= static_cast<std::uint64_t>(bitmap[first / 8 + byte]) << (8 * byte);
    return bits < 64 ? word & ((std::uint64_t{1} << bits) - 1) : word;
}

inline bool filter_bit(const std::uint8_t* bitmap, std::size_t slot) { return (bitmap[slot / 8] >> (slot % 8) & 1u) != 0; }

inline std::size_t count_filter(const std::uint8_t* bitmap, std::size_t begin, std::size_t end) {
    std::size_t count = 0;
    for (std::size_t first = begin; first < end; first += 64) count += count_bits64(filter_word(bitmap, first, end));
    return count;
}

// Calls visit(slot) for every set bit of [begin, end), ascending; begin a multiple of 8. Without a bitmap all match.
template <class Visit>
void each_match(const std::uint8_t* bitmap, std::size_t begin, std::size_t end, Visit visit) {
    if (bitmap == nullptr) {
        for (std::size_t slot = begin; slot < end; ++slot) visit(static_cast<std::uint32_t>(slot));
        return;
    }
    for (std::size_t first = begin; first < end; first += 64)
        for (std::uint64_t word = filter_word(bitmap, first, end); word != 0; word &= word - 1)
            visit(static_cast<std::uint32_t>(first + lowest_bit64(word)));
}

}  // namespace vsearch
