// The data of iceoryx's example icehello.
#pragma once

struct RadarObject {
  double x = 0.0;
  double y = 0.0;
  double z = 0.0;
};
