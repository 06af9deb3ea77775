// The AVX2 unit (with FMA, F16C, BMI2, POPCNT): Haswell and Zen and later.
#include "kernels/avx2/centroids.hpp"
#include "kernels/avx2/codes.hpp"
#include "kernels/avx2/distance.hpp"
#include "kernels/avx2/encode.hpp"
#include "kernels/avx2/levels.hpp"
#include "kernels/avx2/rotate.hpp"
#include "kernels/table.hpp"

namespace vsearch {

void install_avx2(KernelTable& table) {
    avx2::install_distance(table);
    avx2::install_codes(table);
    avx2::install_encode(table);
    avx2::install_rotate(table);
    avx2::install_levels(table);
    avx2::install_centroids(table);
}

}  // namespace vsearch
