// Integer dot products by AVX-512 VNNI: multiply, add pairs or quads and accumulate in one instruction.
//   dot_i8      vpdpwssd: int16 query x widened int8 row, 32 dims
//   dot_u7      vpdpbusd: 64 codes x int8 query; unlike vpmaddubsw it cannot saturate
//   dot_planes  vpdpbusd: 64 codes of a plane x int8 query
#pragma once

#include "kernels/avx512/distance.hpp"
#include "kernels/avx512/planes.hpp"

namespace vsearch::avx512 {
namespace {

struct Dpwssd {
    static __m512i add(__m512i sum, __m512i query, __m512i row) { return _mm512_dpwssd_epi32(sum, query, row); }
};
struct Dpbusd {
    static __m512i add(__m512i sum, __m512i codes, __m512i query) { return _mm512_dpbusd_epi32(sum, codes, query); }
};

}  // namespace

inline void install_vnni(KernelTable& table) {
    table.dot_i8 = dot_i8<Dpwssd>;
    table.dot_u7 = dot_u7<Dpbusd>;
    table.dot_planes = dot_planes<Dpbusd>;
}

}  // namespace vsearch::avx512
