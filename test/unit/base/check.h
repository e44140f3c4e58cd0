/* check: cmocka with what it needs in front of it. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_BASE_CHECK_H
#define TEST_BASE_CHECK_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#endif
