/* cdi: whether the Container Device Interface knows NVIDIA's GPUs on this machine (CNCF CDI specification: JSON or YAML
 * files in /etc/cdi and /var/run/cdi, each for one kind of device). */
#ifndef BERTH_ENGINE_CDI_H
#define BERTH_ENGINE_CDI_H

#include "base/err.h"

#define CDI_NVIDIA_KIND "nvidia.com/gpu"

/* Any file of `folder` whose text names the kind; false where there is no such folder. */
bool cdi_folder_has_nvidia(const char *folder);
bool cdi_has_nvidia(void); /* in either of the two folders */

#endif
