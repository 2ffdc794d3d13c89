from dataclasses import replace

from enliven.toonworld.character import Scene, sample_character
from enliven.toonworld.scene import paint_scene


def test_each_scene_is_another_picture() -> None:
    character = sample_character(0)
    pictures = [paint_scene(replace(character, scene=scene), (64, 96)) for scene in Scene]
    for index, first in enumerate(pictures):
        assert first.min() >= 0
        assert first.max() <= 1
        assert all((first - second).abs().max() > 0.1 for second in pictures[:index])
