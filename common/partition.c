/* SPDX-License-Identifier: Apache-2.0 */
/* Which partition a key belongs to. The same numbers as every Java client computes, since anybody may write to our topics. */
#include "common/bus.h"

#include <assert.h>

#define MURMUR_SEED 0x9747b28cu
#define MURMUR_MULTIPLIER 0x5bd1e995u
#define MURMUR_SHIFT 24

static uint32_t byte_at(struct span key, size_t index)
{
    return (unsigned char)key.bytes[index];
}

static uint32_t word_at(struct span key, size_t index)
{
    return byte_at(key, index) | byte_at(key, index + 1) << 8 | byte_at(key, index + 2) << 16 | byte_at(key, index + 3) << 24;
}

static uint32_t mixed(uint32_t word)
{
    word *= MURMUR_MULTIPLIER;
    word ^= word >> MURMUR_SHIFT;
    return word * MURMUR_MULTIPLIER;
}

static uint32_t with_tail(uint32_t hash, struct span key)
{
    size_t rest = key.size % 4;
    if (rest == 0) {
        return hash;
    }
    for (size_t i = rest; i-- > 0;) {
        hash ^= byte_at(key, key.size - rest + i) << (8 * i);
    }
    return hash * MURMUR_MULTIPLIER;
}

static uint32_t murmur2(struct span key)
{
    uint32_t hash = MURMUR_SEED ^ (uint32_t)key.size;
    for (size_t i = 0; i + 4 <= key.size; i += 4) {
        hash = hash * MURMUR_MULTIPLIER ^ mixed(word_at(key, i));
    }
    hash = with_tail(hash, key);
    hash ^= hash >> 13;
    hash *= MURMUR_MULTIPLIER;
    return hash ^ hash >> 15;
}

int32_t bus_partition_of(struct span key, int32_t count)
{
    assert(count > 0);
    return (int32_t)(murmur2(key) & 0x7fffffffu) % count;
}
