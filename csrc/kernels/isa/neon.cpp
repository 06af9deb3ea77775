// The NEON unit: every armv8-a.
#include "kernels/neon/distance.hpp"
#include "kernels/table.hpp"

namespace vsearch {

void install_neon(KernelTable& table) { neon::install_distance(table); }

}  // namespace vsearch
