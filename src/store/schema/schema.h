/* schema: the SQL that brings a store from one version to the next, embedded at build time. Private to the store.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A step that was released is never changed; a change of the schema is a new step. */
#ifndef STORE_SCHEMA_SCHEMA_H
#define STORE_SCHEMA_SCHEMA_H

extern const char *const schema_steps[]; /* schema_steps[i] leads from version i to version i + 1 */
extern const int schema_n_steps;

#endif
