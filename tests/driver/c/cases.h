/* A line per case on standard output: "ok NAME", or "not ok NAME: what was found". */
#pragma once

#include <stdio.h>

static int failures;

#define EXPECT(name, condition)                                                   \
    do {                                                                          \
        if (condition) {                                                          \
            printf("ok %s\n", name);                                              \
        } else {                                                                  \
            printf("not ok %s: %s:%d: %s\n", name, __FILE__, __LINE__, #condition); \
            failures++;                                                           \
        }                                                                         \
    } while (0)

#define EXPECT_STATUS(name, found, expected)                                                        \
    do {                                                                                            \
        const hwgen_status status_ = (found);                                                       \
        if (status_ == (expected)) {                                                                \
            printf("ok %s\n", name);                                                                \
        } else {                                                                                    \
            printf("not ok %s: %s:%d: %d (%s)\n", name, __FILE__, __LINE__, (int)status_, hwgen_meaning(status_)); \
            failures++;                                                                             \
        }                                                                                           \
    } while (0)
