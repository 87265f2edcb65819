"""The common messages, as their definitions have them: name and number, then fields in the definition's order.

    NAME number: type name name (unit), type array[count] | what follows is an extension of MAVLink 2

Its rule: facts of the published definitions (mavlink.io, common.xml) and nothing else: not their order on the wire, no
check bytes, no sizes; `definition` computes these. Another dialect's messages come from its own XML (`definitions`).
"""

from __future__ import annotations

import re

from firmware_bridge.links.mavlink.definition import Field, Message

_TABLE = """
HEARTBEAT 0: u8 type autopilot base_mode, u32 custom_mode, u8 system_status mavlink_version
SYS_STATUS 1: u32 onboard_control_sensors_present onboard_control_sensors_enabled onboard_control_sensors_health,
    u16 load (d%), u16 voltage_battery (mV), i16 current_battery (cA), i8 battery_remaining (%),
    u16 drop_rate_comm (c%), u16 errors_comm errors_count1 errors_count2 errors_count3 errors_count4 |
    u32 onboard_control_sensors_present_extended onboard_control_sensors_enabled_extended
    onboard_control_sensors_health_extended
SYSTEM_TIME 2: u64 time_unix_usec (us), u32 time_boot_ms (ms)
PING 4: u64 time_usec (us), u32 seq, u8 target_system target_component
SET_MODE 11: u8 target_system base_mode, u32 custom_mode
PARAM_VALUE 22: char param_id[16], f32 param_value, u8 param_type, u16 param_count param_index
GPS_RAW_INT 24: u64 time_usec (us), u8 fix_type, i32 lat lon (degE7), i32 alt (mm), u16 eph epv, u16 vel (cm/s),
    u16 cog (cdeg), u8 satellites_visible | i32 alt_ellipsoid (mm), u32 h_acc v_acc (mm), u32 vel_acc (mm/s),
    u32 hdg_acc (degE5), u16 yaw (cdeg)
SCALED_IMU 26: u32 time_boot_ms (ms), i16 xacc yacc zacc (mG), i16 xgyro ygyro zgyro (mrad/s), i16 xmag ymag
    zmag (mgauss) | i16 temperature (cdegC)
RAW_IMU 27: u64 time_usec (us), i16 xacc yacc zacc (mG), i16 xgyro ygyro zgyro (mrad/s), i16 xmag ymag zmag (mgauss)
    | u8 id, i16 temperature (cdegC)
SCALED_PRESSURE 29: u32 time_boot_ms (ms), f32 press_abs press_diff (hPa), i16 temperature (cdegC) |
    i16 temperature_press_diff (cdegC)
ATTITUDE 30: u32 time_boot_ms (ms), f32 roll pitch yaw (rad), f32 rollspeed pitchspeed yawspeed (rad/s)
ATTITUDE_QUATERNION 31: u32 time_boot_ms (ms), f32 q1 q2 q3 q4, f32 rollspeed pitchspeed yawspeed (rad/s) |
    f32 repr_offset_q[4]
LOCAL_POSITION_NED 32: u32 time_boot_ms (ms), f32 x y z (m), f32 vx vy vz (m/s)
GLOBAL_POSITION_INT 33: u32 time_boot_ms (ms), i32 lat lon (degE7), i32 alt relative_alt (mm), i16 vx vy vz (cm/s),
    u16 hdg (cdeg)
RC_CHANNELS_SCALED 34: u32 time_boot_ms (ms), u8 port, i16 chan1_scaled chan2_scaled chan3_scaled chan4_scaled
    chan5_scaled chan6_scaled chan7_scaled chan8_scaled, u8 rssi
RC_CHANNELS_RAW 35: u32 time_boot_ms (ms), u8 port, u16 chan1_raw chan2_raw chan3_raw chan4_raw chan5_raw chan6_raw
    chan7_raw chan8_raw (us), u8 rssi
SERVO_OUTPUT_RAW 36: u32 time_usec (us), u8 port, u16 servo1_raw servo2_raw servo3_raw servo4_raw servo5_raw
    servo6_raw servo7_raw servo8_raw (us) | u16 servo9_raw servo10_raw servo11_raw servo12_raw servo13_raw
    servo14_raw servo15_raw servo16_raw (us)
NAV_CONTROLLER_OUTPUT 62: f32 nav_roll nav_pitch (deg), i16 nav_bearing target_bearing (deg), u16 wp_dist (m),
    f32 alt_error (m), f32 aspd_error (m/s), f32 xtrack_error (m)
RC_CHANNELS 65: u32 time_boot_ms (ms), u8 chancount, u16 chan1_raw chan2_raw chan3_raw chan4_raw chan5_raw chan6_raw
    chan7_raw chan8_raw chan9_raw chan10_raw chan11_raw chan12_raw chan13_raw chan14_raw chan15_raw chan16_raw
    chan17_raw chan18_raw (us), u8 rssi
MANUAL_CONTROL 69: u8 target, i16 x y z r, u16 buttons | u16 buttons2, u8 enabled_extensions, i16 s t aux1 aux2 aux3
    aux4 aux5 aux6
RC_CHANNELS_OVERRIDE 70: u8 target_system target_component, u16 chan1_raw chan2_raw chan3_raw chan4_raw chan5_raw
    chan6_raw chan7_raw chan8_raw (us) | u16 chan9_raw chan10_raw chan11_raw chan12_raw chan13_raw chan14_raw
    chan15_raw chan16_raw chan17_raw chan18_raw (us)
VFR_HUD 74: f32 airspeed groundspeed (m/s), i16 heading (deg), u16 throttle (%), f32 alt (m), f32 climb (m/s)
COMMAND_INT 75: u8 target_system target_component frame, u16 command, u8 current autocontinue, f32 param1 param2
    param3 param4, i32 x y, f32 z
COMMAND_LONG 76: u8 target_system target_component, u16 command, u8 confirmation, f32 param1 param2 param3 param4
    param5 param6 param7
COMMAND_ACK 77: u16 command, u8 result | u8 progress, i32 result_param2, u8 target_system target_component
MANUAL_SETPOINT 81: u32 time_boot_ms (ms), f32 roll pitch yaw (rad/s), f32 thrust, u8 mode_switch
    manual_override_switch
SET_ATTITUDE_TARGET 82: u32 time_boot_ms (ms), u8 target_system target_component type_mask, f32 q[4],
    f32 body_roll_rate body_pitch_rate body_yaw_rate (rad/s), f32 thrust
ATTITUDE_TARGET 83: u32 time_boot_ms (ms), u8 type_mask, f32 q[4], f32 body_roll_rate body_pitch_rate
    body_yaw_rate (rad/s), f32 thrust
SET_POSITION_TARGET_LOCAL_NED 84: u32 time_boot_ms (ms), u8 target_system target_component coordinate_frame,
    u16 type_mask, f32 x y z (m), f32 vx vy vz (m/s), f32 afx afy afz (m/s/s), f32 yaw (rad), f32 yaw_rate (rad/s)
POSITION_TARGET_LOCAL_NED 85: u32 time_boot_ms (ms), u8 coordinate_frame, u16 type_mask, f32 x y z (m), f32 vx vy
    vz (m/s), f32 afx afy afz (m/s/s), f32 yaw (rad), f32 yaw_rate (rad/s)
SET_POSITION_TARGET_GLOBAL_INT 86: u32 time_boot_ms (ms), u8 target_system target_component coordinate_frame,
    u16 type_mask, i32 lat_int lon_int (degE7), f32 alt (m), f32 vx vy vz (m/s), f32 afx afy afz (m/s/s),
    f32 yaw (rad), f32 yaw_rate (rad/s)
POSITION_TARGET_GLOBAL_INT 87: u32 time_boot_ms (ms), u8 coordinate_frame, u16 type_mask, i32 lat_int
    lon_int (degE7), f32 alt (m), f32 vx vy vz (m/s), f32 afx afy afz (m/s/s), f32 yaw (rad), f32 yaw_rate (rad/s)
OPTICAL_FLOW 100: u64 time_usec (us), u8 sensor_id, i16 flow_x flow_y (rad/s), f32 flow_comp_m_x
    flow_comp_m_y (m/s), u8 quality, f32 ground_distance (m) | f32 flow_rate_x flow_rate_y (rad/s)
VISION_POSITION_ESTIMATE 102: u64 usec (us), f32 x y z (m), f32 roll pitch yaw (rad) | f32 covariance[21],
    u8 reset_counter
HIGHRES_IMU 105: u64 time_usec (us), f32 xacc yacc zacc (m/s/s), f32 xgyro ygyro zgyro (rad/s), f32 xmag ymag
    zmag (gauss), f32 abs_pressure diff_pressure (hPa), f32 pressure_alt, f32 temperature (degC), u16 fields_updated
    | u8 id
OPTICAL_FLOW_RAD 106: u64 time_usec (us), u8 sensor_id, u32 integration_time_us (us), f32 integrated_x integrated_y
    integrated_xgyro integrated_ygyro integrated_zgyro (rad), i16 temperature (cdegC), u8 quality,
    u32 time_delta_distance_us (us), f32 distance (m)
TIMESYNC 111: i64 tc1 ts1 (ns)
SCALED_IMU2 116: u32 time_boot_ms (ms), i16 xacc yacc zacc (mG), i16 xgyro ygyro zgyro (mrad/s), i16 xmag ymag
    zmag (mgauss) | i16 temperature (cdegC)
GPS2_RAW 124: u64 time_usec (us), u8 fix_type, i32 lat lon (degE7), i32 alt (mm), u16 eph epv, u16 vel (cm/s),
    u16 cog (cdeg), u8 satellites_visible dgps_numch, u32 dgps_age (ms) | u16 yaw (cdeg), i32 alt_ellipsoid (mm),
    u32 h_acc v_acc (mm), u32 vel_acc (mm/s), u32 hdg_acc (degE5)
POWER_STATUS 125: u16 Vcc Vservo (mV), u16 flags
SCALED_IMU3 129: u32 time_boot_ms (ms), i16 xacc yacc zacc (mG), i16 xgyro ygyro zgyro (mrad/s), i16 xmag ymag
    zmag (mgauss) | i16 temperature (cdegC)
DISTANCE_SENSOR 132: u32 time_boot_ms (ms), u16 min_distance max_distance current_distance (cm), u8 type id
    orientation, u8 covariance (cm^2) | f32 horizontal_fov vertical_fov (rad), f32 quaternion[4],
    u8 signal_quality (%)
TERRAIN_REPORT 136: i32 lat lon (degE7), u16 spacing, f32 terrain_height current_height (m), u16 pending loaded
SCALED_PRESSURE2 137: u32 time_boot_ms (ms), f32 press_abs press_diff (hPa), i16 temperature (cdegC) |
    i16 temperature_press_diff (cdegC)
ATT_POS_MOCAP 138: u64 time_usec (us), f32 q[4], f32 x y z (m) | f32 covariance[21]
SET_ACTUATOR_CONTROL_TARGET 139: u64 time_usec (us), u8 group_mlx target_system target_component, f32 controls[8]
ACTUATOR_CONTROL_TARGET 140: u64 time_usec (us), u8 group_mlx, f32 controls[8]
ALTITUDE 141: u64 time_usec (us), f32 altitude_monotonic altitude_amsl altitude_local altitude_relative
    altitude_terrain bottom_clearance (m)
SCALED_PRESSURE3 143: u32 time_boot_ms (ms), f32 press_abs press_diff (hPa), i16 temperature (cdegC) |
    i16 temperature_press_diff (cdegC)
BATTERY_STATUS 147: u8 id battery_function type, i16 temperature (cdegC), u16 voltages[10] (mV),
    i16 current_battery (cA), i32 current_consumed (mAh), i32 energy_consumed (hJ), i8 battery_remaining (%) |
    i32 time_remaining (s), u8 charge_state, u16 voltages_ext[4] (mV), u8 mode, u32 fault_bitmask
AUTOPILOT_VERSION 148: u64 capabilities, u32 flight_sw_version middleware_sw_version os_sw_version board_version,
    u8 flight_custom_version[8] middleware_custom_version[8] os_custom_version[8], u16 vendor_id product_id, u64 uid
    | u8 uid2[18]
LANDING_TARGET 149: u64 time_usec (us), u8 target_num frame, f32 angle_x angle_y (rad), f32 distance (m), f32 size_x
    size_y (rad) | f32 x y z (m), f32 q[4], u8 type position_valid
ESTIMATOR_STATUS 230: u64 time_usec (us), u16 flags, f32 vel_ratio pos_horiz_ratio pos_vert_ratio mag_ratio
    hagl_ratio tas_ratio, f32 pos_horiz_accuracy pos_vert_accuracy (m)
WIND_COV 231: u64 time_usec (us), f32 wind_x wind_y wind_z var_horiz var_vert (m/s), f32 wind_alt (m),
    f32 horiz_accuracy vert_accuracy (m/s)
VIBRATION 241: u64 time_usec (us), f32 vibration_x vibration_y vibration_z, u32 clipping_0 clipping_1 clipping_2
HOME_POSITION 242: i32 latitude longitude (degE7), i32 altitude (mm), f32 x y z (m), f32 q[4], f32 approach_x
    approach_y approach_z (m) | u64 time_usec (us)
MESSAGE_INTERVAL 244: u16 message_id, i32 interval_us (us)
EXTENDED_SYS_STATE 245: u8 vtol_state landed_state
DEBUG_VECT 250: char name[10], u64 time_usec (us), f32 x y z
NAMED_VALUE_FLOAT 251: u32 time_boot_ms (ms), char name[10], f32 value
NAMED_VALUE_INT 252: u32 time_boot_ms (ms), char name[10], i32 value
STATUSTEXT 253: u8 severity, char text[50] | u16 id, u8 chunk_seq
DEBUG 254: u32 time_boot_ms (ms), u8 ind, f32 value
ESC_INFO 290: u8 index, u64 time_usec (us), u16 counter, u8 count connection_type info, u16 failure_flags[4],
    u32 error_count[4], i16 temperature[4] (cdegC)
ESC_STATUS 291: u8 index, u64 time_usec (us), i32 rpm[4] (rpm), f32 voltage[4] (V), f32 current[4] (A)
ODOMETRY 331: u64 time_usec (us), u8 frame_id child_frame_id, f32 x y z (m), f32 q[4], f32 vx vy vz (m/s),
    f32 rollspeed pitchspeed yawspeed (rad/s), f32 pose_covariance[21] velocity_covariance[21] | u8 reset_counter
    estimator_type, i8 quality (%)
RAW_RPM 339: u8 index, f32 frequency (rpm)
DEBUG_FLOAT_ARRAY 350: u64 time_usec (us), char name[10], u16 array_id | f32 data[58]
ACTUATOR_OUTPUT_STATUS 375: u64 time_usec (us), u32 active, f32 actuator[32]
WHEEL_DISTANCE 9000: u64 time_usec (us), u8 count, f64 distance[16] (m)
"""

_FIELD = re.compile(r"(\w+)(?:\[(\d+)\])?")


def _fields(text: str) -> list[Field]:
    """The fields of "type name name[count] (unit), …"."""
    found = []
    for group in filter(None, (part.strip() for part in text.split(","))):
        names, _bracket, unit = group.rstrip(")").partition(" (")
        kind, *rest = names.split()
        for match in map(_FIELD.fullmatch, rest):
            assert match is not None
            found.append(Field(match[1], kind, int(match[2] or 0), unit))
    return found


def _messages(table: str) -> dict[str, Message]:
    messages = {}
    for line in filter(None, table.strip().replace("\n    ", " ").split("\n")):
        head, _colon, text = line.partition(": ")
        name, number = head.split()
        base, _bar, extensions = text.partition(" | ")
        fields = _fields(base)
        messages[name] = Message(name, int(number), (*fields, *_fields(extensions)), len(fields))
    return messages


MESSAGES = _messages(_TABLE)  # by name
# Those that the link itself speaks and reads, so no dialect may mean anything else by them.
HEARTBEAT, COMMAND_LONG, COMMAND_ACK = SPOKEN = tuple(
    MESSAGES[name] for name in ("HEARTBEAT", "COMMAND_LONG", "COMMAND_ACK")
)
