// The interval of a vector that is coded between its own two ends: LVQ's [min, max], a narrower one, or OSQ's.
#pragma once

#include "quantize/levels.hpp"

namespace vsearch {

struct Interval {
    float middle = 0, step = 0;  // level L stands for middle + step * L
};

// part.sigma is one over the number of steps between the ends of the interval.
Interval choose_interval(const float* o, const LevelsCodec::Part& part, LevelRule rule);

}  // namespace vsearch
