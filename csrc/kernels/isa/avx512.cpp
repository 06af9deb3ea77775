// The AVX-512 unit (F, BW, DQ, VL): Skylake-X, Zen 4 and later.
#include "kernels/avx512/centroids.hpp"
#include "kernels/avx512/codes.hpp"
#include "kernels/avx512/distance.hpp"
#include "kernels/table.hpp"

namespace vsearch {

void install_avx512(KernelTable& table) {
    avx512::install_distance(table);
    avx512::install_codes(table);
    avx512::install_centroids(table);
}

}  // namespace vsearch
