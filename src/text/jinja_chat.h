/* jinja_chat: what transformers does to a conversation around a template. Private to the room. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_JINJA_CHAT_H
#define TEXT_JINJA_CHAT_H
#include "text/jinja_val.h"

/* The variables that are always there. */
void jinja_chat_defaults(struct jinja_run *r);
/* Of each message: members that are null are left out, reasoning gets all its names, a role with a known name has no marks. */
void jinja_chat_messages(struct jinja_run *r);
/* Before and after the template: puts a tag behind the content of the last message, and cuts the output there. */
void jinja_chat_open(struct jinja_run *r);
void jinja_chat_cut(struct jinja_run *r);

#endif
