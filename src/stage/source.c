#include "stage/stage_priv.h"

int stage_source_new(struct source **out, struct stage *stage, size_t index, struct err *err)
{
    const struct input *in = &stage->inputs[index];
    switch (in->kind) {
    case SOURCE_S3:
        return source_s3_new(out, stage, index, err);
    case SOURCE_HF:
        return source_hf_new(out, stage, index, err);
    case SOURCE_LOCAL:
        return source_local_new(out, stage, index, err);
    case SOURCE_URL:
    case SOURCE_PRESIGNED:
        return source_url_new(out, stage, index, err);
    case SOURCE_OLLAMA:
        break;
    }
    static const char *const words[] = {
#define X(name, word) word,
        SOURCE_KINDS(X)
#undef X
    };
    err_set(err, ERR_UNSUPPORTED, "not supported yet: input source '%s' (%s)", words[in->kind], in->at);
    return err_hint(err, "this version fetches from S3, the Hugging Face Hub, URLs and folders; copy the data there, "
                         "or remove this input");
}

void stage_source_free(struct source *s)
{
    if (s)
        s->ops->free(s);
}
