// What is written into blocks and planes is read back, and the kernels read the same thing from it.
#include <cstring>
#include <vector>

#include "check.hpp"
#include "guarded.hpp"
#include "kernels/tables.hpp"
#include "quantize/block.hpp"
#include "quantize/planes.hpp"

using namespace vsearch;
using namespace vsearch::test;

TEST(layout_lanes_of_a_block_do_not_touch_each_other) {
    const BlockLayout layout(12, 2, sizeof(float));
    Guarded<std::uint8_t> codes(layout.code_bytes);
    fill(codes, [] { return static_cast<std::uint8_t>(random_int(0, 255)); });
    std::vector<std::vector<std::uint8_t>> signs(kBlock, std::vector<std::uint8_t>(layout.symbols / 2));
    for (std::size_t v = 0; v < kBlock; ++v) {
        fill(signs[v], [] { return static_cast<std::uint8_t>(random_int(0, 255)); });
        write_lane(codes.data(), layout.symbols, v, signs[v].data());
    }
    for (std::size_t v = 0; v < kBlock; ++v) {
        Guarded<std::uint8_t> read(layout.symbols / 2);
        read_lane(codes.data(), layout.symbols, v, read.data());
        CHECK(same_bits(read.data(), signs[v].data(), read.size()));
    }
}

TEST(layout_fastscan_reads_the_lanes_that_were_written) {
    const BlockLayout layout(16, 2, sizeof(float));
    for (const Candidate& candidate : candidates()) {
        Guarded<std::uint8_t> codes(layout.code_bytes), lut(layout.symbols * 16);
        for (std::size_t v = 0; v < kBlock; ++v) {  // vector v has its first v bits set
            std::vector<std::uint8_t> signs(layout.symbols / 2);
            for (std::size_t j = 0; j < v; ++j) signs[j / 8] = static_cast<std::uint8_t>(signs[j / 8] | 1u << j % 8);
            write_lane(codes.data(), layout.symbols, v, signs.data());
        }
        for (std::size_t i = 0; i < lut.size(); ++i) lut[i] = static_cast<std::uint8_t>(__builtin_popcount(i % 16));
        Guarded<std::uint16_t> sums(32);
        candidate.table.fastscan(codes.data(), lut.data(), layout.symbols, sums.data());
        for (std::size_t v = 0; v < kBlock; ++v) CHECK_AT(sums[v] == v, at(candidate.name, v, sums[v]));
    }
}

TEST(layout_planes_keep_every_value) {
    for (int bits = 1; bits <= 8; ++bits) {
        for (const std::size_t dim : {1, 7, 16, 63, 64, 65, 128, 200}) {
            Guarded<std::uint8_t> values(dim), read(dim), code(plane_bytes(dim, bits));
            fill(values, [&] { return static_cast<std::uint8_t>(random_int(0, (1 << bits) - 1)); });
            pack_planes(values.data(), dim, bits, code.data());
            unpack_planes(code.data(), dim, bits, read.data());
            CHECK_AT(same_bits(read.data(), values.data(), dim), at("planes", static_cast<std::size_t>(bits), dim));
            for (const Candidate& candidate : candidates()) {
                const std::size_t whole = dim / kChunk;
                Guarded<std::uint8_t> packed(plane_bytes(whole * kChunk, bits));
                candidate.table.pack_planes(bits, values.data(), whole, packed.data());
                CHECK_AT(same_bits(packed.data(), code.data(), packed.size()), at(candidate.name, static_cast<std::size_t>(bits), dim));
            }

            Guarded<std::int8_t> query(plane_chunks(dim) * kChunk);
            std::int32_t expected = 0;
            fill(query, [] { return static_cast<std::int8_t>(random_int(-127, 127)); });
            for (std::size_t j = 0; j < dim; ++j) expected += values[j] * query[j];
            for (const Candidate& candidate : candidates()) {
                std::int32_t dot = 0;
                candidate.table.dot_planes(bits, query.data(), code.data(), 0, 1, plane_chunks(dim), &dot);
                CHECK_AT(dot == expected, at(candidate.name, static_cast<std::size_t>(bits), dim));
            }
        }
    }
}
