/* log: see log.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/utf8.h"

static enum log_level level_max = LOG_INFO;
static enum log_format line_format = LOG_TEXT;
static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_setup(enum log_level level, enum log_format format) {
  level_max = level;
  line_format = format;
}

int log_level_parse(const char *name) {
  for (int i = 0; i < 4; i++)
    if (strcmp(name, level_names[i]) == 0) return i;
  return -1;
}

static void time_text(char out[32]) {
  int64_t ms = clock_wall_ms();
  time_t s = (time_t)(ms / 1000);
  struct tm utc;
  gmtime_r(&s, &utc);
  size_t n = strftime(out, 24, "%Y-%m-%dT%H:%M:%S", &utc);
  snprintf(out + n, 32 - n, ".%03dZ", (int)(ms % 1000));
}

static void json_line(struct buf *line, const char *when, enum log_level level, const char *room, struct slice message) {
  struct jsonw w = {.out = line};
  jsonw_object_begin(&w);
  jsonw_key_cstr(&w, "time", when);
  jsonw_key_cstr(&w, "level", level_names[level]);
  jsonw_key_cstr(&w, "room", room);
  jsonw_key_str(&w, "message", message);
  jsonw_object_end(&w);
}

void log_line(enum log_level level, const char *room, const char *format, ...) {
  if (level > level_max) return;
  char message[1024], when[32];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  message[utf8_make_line(message, strlen(message))] = '\0';
  time_text(when);
  struct buf line = {0};
  if (line_format == LOG_JSON) json_line(&line, when, level, room, slice_cstr(message));
  else buf_printf(&line, "%s %-5s %s: %s", when, level_names[level], room, message);
  buf_add_byte(&line, '\n');
  ssize_t ignored = write(STDERR_FILENO, line.data, line.len); /* one write, so that lines of threads do not mix */
  (void)ignored;
  buf_free(&line);
}
