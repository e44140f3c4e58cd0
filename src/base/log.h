/* log: lines on stderr for the operator. SPDX-License-Identifier: Apache-2.0
 *
 * One line an event: time, level, room, message. Never log tokens, keys, prompts or answers. Any thread. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

/* Lines above the level are dropped. Set once at start (default LOG_INFO, LOG_TEXT). */
void log_setup(enum log_level level, enum log_format format);
/* room: the source folder's name, e.g. "engine". */
void log_line(enum log_level level, const char *room, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* "error", "warn", "info", "debug" -> level; -1 when the name is none of these. */
int log_level_parse(const char *name);

#endif
