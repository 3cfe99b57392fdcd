/* The management library: fixed answers, for the devices that there are. */
#include "double.h"

EXPORT int nvmlInit_v2(void) { return 0; }
EXPORT const char *nvmlErrorString(int status) { return status == 6 ? "Not Found" : "Unknown"; }

EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, void **out) {
  for (int d = 0; d < device_total; ++d) {
    char byte[12];
    snprintf(byte, sizeof byte, "%02x", d + 1); /* cuDeviceGetUuid repeats it */
    if (strncmp(uuid, "GPU-", 4) || strncmp(uuid + 4, byte, 2)) continue;
    *out = &devices[d];
    return 0;
  }
  return 6;
}
EXPORT int nvmlDeviceGetUtilizationRates(struct Device *d, unsigned *rates) {
  rates[0] = 40 + d->ordinal;
  rates[1] = 20 + d->ordinal;
  return 0;
}
EXPORT int nvmlDeviceGetTemperature(struct Device *d, unsigned sensor, unsigned *celsius) {
  *celsius = 60 + d->ordinal;
  return sensor;
}
EXPORT int nvmlDeviceGetPowerUsage(struct Device *d, unsigned *milliwatts) {
  *milliwatts = 70000 + d->ordinal;
  return 0;
}
EXPORT int nvmlDeviceGetClockInfo(struct Device *d, unsigned clock, unsigned *megahertz) {
  *megahertz = 1980 + d->ordinal;
  return clock == 1 ? 0 : 2;
}
