//! rapier3d worlds from MJCF, the tasks in them, their demonstrators and a CPU renderer.
