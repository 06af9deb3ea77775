// `with scan.exclusive():` waits, without the GIL, until no search is running, and keeps new ones out.
#pragma once

#include <pybind11/pybind11.h>

#include "base/gate.hpp"

namespace vsearch::bindings {

class Exclusive {
public:
    explicit Exclusive(Gate& gate) : gate_(gate) {}
    void enter() {
        pybind11::gil_scoped_release unlocked;
        gate_.enter_exclusive();
    }
    void leave() { gate_.leave_exclusive(); }

private:
    Gate& gate_;
};

}  // namespace vsearch::bindings
