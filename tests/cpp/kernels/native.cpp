// The levels that this CPU offers, as dispatch builds them, and the promises of dispatch itself.
#include <algorithm>
#include <stdexcept>

#include "check.hpp"
#include "kernels/tables.hpp"

namespace vsearch::test {

const std::vector<Candidate>& candidates() {
    static const std::vector<Candidate> all = [] {
        std::vector<Candidate> built;
        for (const std::string& level : available_isas()) {
            use_isa(level);
            built.push_back({level, kernels()});
        }
        use_isa("best");
        return built;
    }();
    return all;
}

}  // namespace vsearch::test

using namespace vsearch;

TEST(dispatch_fills_every_kernel_at_every_level) {
    const std::vector<std::string> levels = available_isas();
    CHECK(!levels.empty() && levels.front() == "scalar");
    for (const std::string& level : levels) {
        use_isa(level);
        CHECK_AT(current_isa() == level, level);
        for (const auto& [kernel, unit] : kernel_origins()) {
            CHECK_AT(unit != "missing", level + " " + kernel);
            CHECK_AT(level != "scalar" || unit == "scalar", kernel);
        }
    }
    use_isa("best");
    CHECK(current_isa() == levels.back());
}

TEST(dispatch_refuses_levels_this_cpu_lacks) {
    for (const char* level : {"avx3", "", "AVX2"}) {
        std::string message;
        try {
            use_isa(level);
        } catch (const std::invalid_argument& error) {
            message = error.what();
        }
        CHECK_AT(message.find("scalar") != std::string::npos, level);
        CHECK_AT(message.find(std::string("got '") + level + "'") != std::string::npos, message);
    }
    CHECK(current_isa() == available_isas().back());
}
