/* Both dialects and the record, read and written. */
#include "drive.h"

#include "spec/spec.h"

#include <stdio.h>
#include <string.h>

static const char nosana[] =
    "{\"version\":\"0.1\",\"type\":\"container\",\"ops\":[{\"id\":\"op\",\"type\":\"container/run\",\"args\":{"
    "\"image\":\"busybox\",\"cmd\":[\"cat\",\"/data/x\"],\"env\":{\"A\":\"b\"},\"resources\":[{\"type\":\"S3\",\"url\":"
    "\"https://s3.example/b/d\",\"target\":\"/"
    "data\",\"IAM\":{\"ACCESS_KEY_ID\":\"a\",\"SECRET_ACCESS_KEY\":\"b\"}}]}}]}";
static const char bacalhau[] =
    "Name: job\nType: batch\nCount: 1\nTasks:\n- Name: main\n  Engine:\n    Type: docker\n    Params:\n"
    "      Image: busybox\n      Parameters: [cat, /data/x]\n  InputSources:\n  - Target: /data\n    Source:\n"
    "      Type: s3\n      Params: {Bucket: b, Key: d/, Filter: \"x$\"}\n";

static bool complete; /* what was read is what was written there */

static int prepare(const char *dir)
{
    (void)dir;
    return 0;
}

static int one(const char *text, struct err *err)
{
    struct job *job = NULL;
    const struct spec_opts opts = {.file = "job"};
    if (spec_parse(span_of(text), &opts, &job, err) < 0)
        return -1;
    complete = job->op_count == 1 && strcmp(job->ops[0].image, "busybox") == 0 && job->ops[0].input_count == 1;
    AUTO_JSON record = spec_to_json(job, err);
    job_free(job);
    return record ? 0 : -1;
}

static int run(struct err *err)
{
    if (one(nosana, err) < 0 || !complete)
        return -1;
    return one(bacalhau, err);
}

static bool check(bool succeeded)
{
    if (succeeded && !complete)
        fprintf(stderr, "the job that was read lacks something\n");
    return !succeeded || complete;
}

const struct work work_parse = {"parse", prepare, run, check};
