// The scalar unit: the C++ reference that every other unit must equal. Compiled without vectoriser and without FMA.
#include "kernels/scalar/centroids.hpp"
#include "kernels/scalar/codes.hpp"
#include "kernels/scalar/distance.hpp"
#include "kernels/table.hpp"

namespace vsearch {

void install_scalar(KernelTable& table) {
    scalar::install_distance(table);
    scalar::install_codes(table);
    scalar::install_centroids(table);
}

}  // namespace vsearch
