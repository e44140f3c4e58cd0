/* notify: tells a service manager how the server is (the protocol of sd_notify). SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_NOTIFY_H
#define APP_NOTIFY_H

/* Sends "READY=1", "STOPPING=1" … to NOTIFY_SOCKET; without one, or when nobody listens, nothing happens. */
void notify_send(const char *state);

#endif
