#include "s3/xml.h"

#include "base/buf.h"

#include <expat.h>
#include <limits.h>

#define NAME_MAX_SHOWN 64

struct xml {
    XML_Parser parser;
    const struct xml_events *events;
    void *ctx;
    size_t bytes, bytes_max;
    unsigned depth;
    struct buf text;
    struct err *err; /* of the feed that runs; NULL outside */
};

static void stop(struct xml *x)
{
    XML_StopParser(x->parser, XML_FALSE);
}

static const char *local_name(const char *name)
{
    const char *colon = strchr(name, ':');
    return colon ? colon + 1 : name;
}

static void on_open(void *ctx, const char *name, const char **attributes)
{
    struct xml *x = ctx;
    (void)attributes;
    if (err_is_set(x->err)) /* expat may still deliver what it had at hand */
        return;
    if (++x->depth > XML_DEPTH_MAX) {
        err_set(x->err, ERR_PROTOCOL, "XML nested deeper than %d", XML_DEPTH_MAX);
        stop(x);
        return;
    }
    buf_reset(&x->text);
    if (x->events->open && x->events->open(x->ctx, local_name(name), x->depth, x->err) != 0)
        stop(x);
}

static void on_text(void *ctx, const char *p, int n)
{
    struct xml *x = ctx;
    if (err_is_set(x->err))
        return;
    buf_add(&x->text, p, (size_t)n);
    if (x->text.state != BUF_OK) {
        if (x->text.state == BUF_NOMEM)
            err_nomem(x->err);
        else
            err_set(x->err, ERR_PROTOCOL, "XML element of more than %zu bytes", XML_TEXT_MAX);
        stop(x);
    }
}

static void on_close(void *ctx, const char *name)
{
    struct xml *x = ctx;
    if (err_is_set(x->err))
        return;
    int rc = x->events->close(x->ctx, local_name(name), x->depth, buf_span(&x->text), x->err);
    x->depth--;
    buf_reset(&x->text);
    if (rc != 0)
        stop(x);
}

static void on_doctype(void *ctx, const char *name, const char *system_id, const char *public_id, int has_subset)
{
    struct xml *x = ctx;
    (void)system_id;
    (void)public_id;
    (void)has_subset;
    if (!err_is_set(x->err))
        err_set(x->err, ERR_PROTOCOL, "the answer declares a document type ('%.*s'); entities are refused",
                NAME_MAX_SHOWN, name);
    stop(x);
}

struct xml *xml_open(const struct xml_events *events, void *ctx, size_t bytes_max, struct err *err)
{
    struct xml *x = calloc(1, sizeof *x);
    if (x)
        x->parser = XML_ParserCreate("UTF-8");
    if (!x || !x->parser) {
        free(x);
        err_nomem(err);
        return NULL;
    }
    x->events = events;
    x->ctx = ctx;
    x->bytes_max = bytes_max;
    buf_init(&x->text, XML_TEXT_MAX);
    XML_SetUserData(x->parser, x);
    XML_SetElementHandler(x->parser, on_open, on_close);
    XML_SetCharacterDataHandler(x->parser, on_text);
    XML_SetStartDoctypeDeclHandler(x->parser, on_doctype);
    return x;
}

void xml_free(struct xml *x)
{
    if (!x)
        return;
    XML_ParserFree(x->parser);
    buf_release(&x->text);
    free(x);
}

static int parse(struct xml *x, const void *p, size_t n, bool last, struct err *err)
{
    x->err = err;
    enum XML_Status status = XML_Parse(x->parser, p, (int)n, last);
    x->err = NULL;
    if (err_is_set(err))
        return -1;
    if (status == XML_STATUS_OK)
        return 0;
    enum XML_Error code = XML_GetErrorCode(x->parser);
    if (code == XML_ERROR_NO_MEMORY)
        return err_nomem(err);
    return err_set(err, ERR_PROTOCOL, "malformed XML at line %lu: %s",
                   (unsigned long)XML_GetCurrentLineNumber(x->parser), XML_ErrorString(code));
}

int xml_feed(struct xml *x, const void *p, size_t n, struct err *err)
{
    if (n > x->bytes_max - x->bytes || n > INT_MAX)
        return err_set(err, ERR_PROTOCOL, "XML answer of more than %zu bytes", x->bytes_max);
    x->bytes += n;
    return parse(x, p, n, false, err);
}

int xml_finish(struct xml *x, struct err *err)
{
    return parse(x, "", 0, true, err);
}
