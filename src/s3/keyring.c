/* The keys that sign on transfer threads, which must not wait for new ones. */
#include "s3/s3_priv.h"

#include <stdio.h>

int s3_renew_keys(struct s3 *s3, struct err *err)
{
    struct creds_keys fresh = {0};
    pthread_mutex_lock(&s3->last.mu);
    AUTO_STR used = s3->last.keys.keys.access_key_id ? str_dup(s3->last.keys.keys.access_key_id, err) : NULL;
    pthread_mutex_unlock(&s3->last.mu);
    if (used)
        creds_expired(s3->creds, used);
    if (creds_get(s3->creds, s3->cancel, &fresh, err) < 0)
        return -1;
    pthread_mutex_lock(&s3->last.mu);
    creds_keys_release(&s3->last.keys);
    s3->last.keys = fresh;
    pthread_mutex_unlock(&s3->last.mu);
    atomic_fetch_add(&s3->lessons, 1);
    return 0;
}

int s3_have_keys(struct s3 *s3, struct err *err)
{
    struct creds_keys now = {0};
    if (!creds_peek(s3->creds, &now) && creds_get(s3->creds, s3->cancel, &now, err) < 0)
        return -1;
    pthread_mutex_lock(&s3->last.mu);
    bool same = str_eq(s3->last.keys.keys.access_key_id, now.keys.access_key_id) &&
                str_eq(s3->last.keys.keys.session_token, now.keys.session_token);
    struct creds_keys old = s3->last.keys;
    if (same)
        old = now;
    else
        s3->last.keys = now;
    pthread_mutex_unlock(&s3->last.mu);
    creds_keys_release(&old);
    return 0;
}

int s3_sign_now(struct s3 *s3, const struct s3_ask *ask, const char *url, struct buf *headers, struct err *err)
{
    pthread_mutex_lock(&s3->last.mu);
    int rc = s3_write_headers(s3, ask, url, &s3->last.keys.keys, headers, err);
    pthread_mutex_unlock(&s3->last.mu);
    return rc;
}
