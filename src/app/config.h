/* config: the configuration file. SPDX-License-Identifier: Apache-2.0
 *
 * YAML: one mapping of the keys of the option table to single values; a list is a YAML sequence or one value. Anything else (an unknown
 * key, a key twice, a nested mapping, an anchor, a second document) is an error with file, line and column. */
#ifndef APP_CONFIG_H
#define APP_CONFIG_H
#include "app/options.h"

int config_apply(struct options *o, const char *path, struct error *err);
/* The same on text; path is for messages. */
int config_apply_text(struct options *o, struct slice text, const char *path, struct error *err);

#endif
