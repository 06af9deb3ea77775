// The NEON dot product unit (armv8.2-a+dotprod): Cortex-A75, Apple M1 and later.
#include "kernels/neon/dotprod.hpp"
#include "kernels/table.hpp"

namespace vsearch {

void install_neondot(KernelTable& table) { neondot::install_dotprod(table); }

}  // namespace vsearch
