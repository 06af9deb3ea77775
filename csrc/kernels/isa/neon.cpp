// The NEON unit: every armv8-a.
#include "kernels/neon/centroids.hpp"
#include "kernels/neon/codes.hpp"
#include "kernels/neon/distance.hpp"
#include "kernels/table.hpp"

namespace vsearch {

void install_neon(KernelTable& table) {
    neon::install_distance(table);
    neon::install_codes(table);
    neon::install_centroids(table);
}

}  // namespace vsearch
