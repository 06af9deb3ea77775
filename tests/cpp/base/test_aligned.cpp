// Alignment, and ownership that moves without copying (base/aligned.hpp).
#include <cstdint>
#include <utility>

#include "base/aligned.hpp"
#include "check.hpp"

using vsearch::AlignedArray;

TEST(aligned_starts_at_a_cache_line) {
    for (std::size_t size : {1, 3, 63, 64, 65, 1000}) {
        AlignedArray<std::uint8_t> bytes(size);
        CHECK(reinterpret_cast<std::uintptr_t>(bytes.data()) % vsearch::kAlignment == 0);
        CHECK(bytes.size() == size);
    }
}

TEST(aligned_moves_without_copying) {
    AlignedArray<float> source(10);
    source[9] = 3.f;
    const float* where = source.data();
    AlignedArray<float> target(std::move(source));
    CHECK(target.data() == where && target[9] == 3.f && target.size() == 10);
    AlignedArray<float> other(4);
    other = std::move(target);
    CHECK(other.data() == where && other.size() == 10);
}

TEST(aligned_shrinks_in_place) {
    AlignedArray<int> array(100);
    const int* where = array.data();
    array.resize(10);
    CHECK(array.data() == where && array.size() == 10);
    array.resize(100);
    CHECK(array.data() == where);
    CHECK(vsearch::round_up(0, 16) == 0 && vsearch::round_up(1, 16) == 16 && vsearch::round_up(32, 16) == 32);
}
