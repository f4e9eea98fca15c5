#include "cli/publishing.h"

void publishing_access(const struct stage_access *from, struct publish_access *out)
{
    *out = (struct publish_access){
        .ambient = from->ambient,
        .profile = from->profile,
        .endpoint = from->endpoint,
        .region = from->region,
        .addressing = from->addressing,
        .mirrors = from->mirrors,
        .https_only = from->policy.https_only,
    };
}

void publishing_note(struct ui *ui, const json_t *published)
{
    const json_t *params = json_object_get(published, "Params");
    if (!params)
        return;
    const char *path = json_get_str(params, "Path"), *version = json_get_str(params, "VersionID");
    if (!path)
        path = json_get_str(params, "URL");
    if (path)
        ui_note(ui, "published %s", path);
    else
        ui_note(ui, "published s3://%s/%s%s%s", json_get_str(params, "Bucket"), json_get_str(params, "Key"),
                version ? " version " : "", version ? version : "");
}
