/* SPDX-License-Identifier: Apache-2.0 */
/* One target for libFuzzer: built once for each, with FUZZ_TARGET its function. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    FUZZ_TARGET((struct span){(const char *)bytes, size});
    return 0;
}
