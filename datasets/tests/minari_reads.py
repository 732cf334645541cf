"""Loads datasets that surefoot wrote with Minari's own library, reads all of them, and adds an episode with it.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install 'minari[hdf5]' pillow
    /tmp/venv/bin/python datasets/tests/minari_reads.py DIRECTORY...

Exit code 1 and one line per fault when one is not as Minari expects it. The datasets themselves are left as they are.
"""

import os
import shutil
import sys
import tempfile

import minari
import numpy as np
from minari.data_collector import EpisodeBuffer


def check(path):
    faults = []

    def expect(truth, what):
        if not truth:
            faults.append(f"{path}: {what}")

    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(os.path.join(path, "data"), os.path.join(copy, "data"))
        dataset = minari.MinariDataset(os.path.join(copy, "data"))
        observation, action = dataset.observation_space, dataset.action_space
        steps = 0
        for i, episode in enumerate(dataset.iterate_episodes()):
            n = len(episode)
            steps += n
            expect(episode.id == i, f"id of episode {i}")
            expect(episode.observations.shape == (n + 1, *observation.shape), f"observations of episode {i}")
            expect(episode.actions.shape == (n, *action.shape), f"actions of episode {i}")
            expect(episode.observations.dtype == observation.dtype, f"type of observations of episode {i}")
            expect(all(observation.contains(o) for o in episode.observations), f"observations of episode {i} in their space")
            expect(all(action.contains(a) for a in episode.actions), f"actions of episode {i} in their space")
            ends = episode.terminations | episode.truncations
            expect(ends.dtype == np.bool_ and ends[-1] and not ends[:-1].any(), f"episode {i} ends once")
            for key, value in episode.infos.items():
                expect(len(value) == n + 1, f"infos/{key} of episode {i}")
        expect(dataset.total_steps == steps, "total_steps")
        expect(dataset.total_episodes == len(dataset), "total_episodes")
        episodes = dataset.total_episodes
        dataset.storage.update_episodes([EpisodeBuffer(
            id=episodes, seed=1, observations=[observation.sample() for _ in range(3)], actions=[action.sample() for _ in range(2)],
            rewards=[0.0, 1.0], terminations=[False, True], truncations=[False, False],
        )])
        grown = minari.MinariDataset(os.path.join(copy, "data"))
        expect(grown.total_episodes == episodes + 1 and len(grown[episodes]) == 2, "takes another episode")
    if not faults:
        print(f"ok: {path}: {episodes} episodes, {steps} steps")
    return faults


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: minari_reads.py DIRECTORY...")
    found = [fault for path in sys.argv[1:] for fault in check(path)]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    sys.exit(1 if found else 0)
