/* help: every text that is made from the option tables. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_HELP_H
#define APP_HELP_H
#include "app/app.h"

/* `plinth CMD --help` */
void help_command(const struct options_spec *spec, struct buf *out);
/* `plinth CMD --print-config`: a configuration file that says what every setting is for, all of them commented out. */
void help_config(const struct options_spec *spec, struct buf *out);
/* `plinth --help` */
void help_program(const struct app_command *const *commands, size_t n, struct buf *out);
/* `plinth help --man`: the manual page, roff with the man macros */
void help_man(const struct app_command *const *commands, size_t n, struct buf *out);

#endif
