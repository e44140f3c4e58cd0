/* jinja_filter: finds a filter by name. SPDX-License-Identifier: Apache-2.0 */
#include "text/jinja_call.h"

const struct jinja_builtin *jinja_filter_find(struct slice name) {
  const struct jinja_builtin *found = jinja_call_lookup(jinja_seq_filters, name);
  if (!found) found = jinja_call_lookup(jinja_text_filters, name);
  return found ? found : jinja_call_lookup(jinja_html_filters, name);
}
