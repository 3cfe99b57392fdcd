// use_deterministic_algorithms: where a library can't promise the same result for any number of
// threads (LAPACK on large matrices), it gets one.
#pragma once

namespace taimatsu {

bool deterministic_algorithms();

}  // namespace taimatsu
