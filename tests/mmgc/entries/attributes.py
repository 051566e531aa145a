"""An entry that reads all that is public, and does what a digest of the values and their types says."""

import hashlib
import sys

sys.path.append("..")
from simulator.video_player import BITRATE_LEVELS

NAMES = (
    "video_size chunk_num video_len video_chunk_counter video_chunk_remain download_chunk_bitrate video_play_counter "
    "play_timeline buffer_size preload_size user_time user_retent_rate"
).split()
METHODS = (
    "get_user_model get_video_len get_preload_size get_play_chunk get_chunk_sum get_chunk_counter get_buffer_size "
    "get_downloaded_bitrate"
).split()


class Algorithm:
    def __init__(self):
        self.kept = None

    def Initialize(self):  # noqa: N802
        self.digest = hashlib.sha256()
        self.kept = None  # the list of the first video's rungs, which must grow by itself

    def run(self, delay, rebuf, video_size, end_of_video, play_video_id, Players, first_step=False):  # noqa: N803
        told = [delay, rebuf, video_size, end_of_video, play_video_id, len(Players), first_step]
        if first_step:
            self.kept = Players[0].download_chunk_bitrate
        told.append(self.kept)
        for player in Players:
            told += [getattr(player, name) for name in NAMES]
            told += [getattr(player, name)() for name in METHODS]
            left = player.chunk_num - player.video_chunk_counter
            told += [player.get_undownloaded_video_size(min(left, 5)), player.get_video_quality(0)]
        self.digest.update(repr([(type(value).__name__, value) for value in told]).encode())
        number = int.from_bytes(self.digest.digest()[:4], "big")
        open_videos = [seq for seq, player in enumerate(Players) if player.chunk_num > player.video_chunk_counter]
        if number % 7 == 0:
            open_videos and Players[open_videos[0]].get_video_size(number % BITRATE_LEVELS)
        if number % 5 == 0:
            Players[-1].get_remain_video_num()
        if not open_videos or number % 11 == 0:
            return play_video_id + number % len(Players), 0, 250.5 if number % 2 else 0.4
        seq = open_videos[0] if number % 3 else open_videos[number % len(open_videos)]
        return play_video_id + seq, number % BITRATE_LEVELS, -1 if number % 29 == 0 else 0.0
