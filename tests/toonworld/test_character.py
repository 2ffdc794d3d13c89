from enliven.toonworld.character import Hair, Person, caption, sample_character

CROWD = [sample_character(seed) for seed in range(400)]


def test_a_seed_is_one_person() -> None:
    assert sample_character(3) == sample_character(3)
    assert len({caption(character) for character in CROWD}) > 380


def test_every_style_of_hair_occurs() -> None:
    assert {character.hair for character in CROWD} == set(Hair)


def test_only_men_have_facial_hair() -> None:
    assert all(character.person is Person.MAN for character in CROWD if character.facial_hair)


def test_neighbouring_colours_can_be_told_apart() -> None:
    for character in CROWD:
        assert abs(character.cloth.brightness - character.accent.brightness) > 0.1
        assert abs(character.skin.brightness - character.wall.brightness) > 0.02


def test_captions_are_sentences_of_few_words() -> None:
    captions = [caption(character) for character in CROWD]
    words = {word.strip(",.").lower() for text in captions for word in text.split()}
    assert len(words) < 200
    for text in captions:
        assert text.startswith("A cartoon ")
        assert text.endswith(".")
        assert " a orange" not in text
        assert "  " not in text
