// Runs the registered tests whose name starts with one of the arguments; all of them without arguments.
#include <cstring>

#include "check.hpp"

int main(int argc, char** argv) {
    int ran = 0;
    for (const vsearch::test::Case& test : vsearch::test::cases()) {
        bool wanted = argc == 1;
        for (int i = 1; i < argc; ++i) wanted = wanted || std::strncmp(test.name, argv[i], std::strlen(argv[i])) == 0;
        if (!wanted) continue;
        const int before = vsearch::test::failures();
        test.run();
        std::printf("%s %s\n", vsearch::test::failures() == before ? "ok    " : "FAILED", test.name);
        std::fflush(stdout);
        ++ran;
    }
    std::printf("%d tests, %d failed checks\n", ran, vsearch::test::failures());
    return ran > 0 && vsearch::test::failures() == 0 ? 0 : 1;
}
