"""The concepts of the embedded world: hexcode of the artwork and the noun of the captions."""

from __future__ import annotations

from dataclasses import dataclass

_ANIMATED = """
1f400 rat | 1f404 cow | 1f42f tiger | 1f430 rabbit | 1f408-200d-2b1b black cat | 1f431 cat
1f409 dragon | 1f40a crocodile | 1f40b whale | 1f40c snail | 1f40d snake | 1f40e horse | 1f410 goat
1f411 sheep | 1f412 monkey | 1f413 rooster | 1f436 dog | 1f437 pig | 1f418 elephant | 1f419 octopus
1f41b caterpillar | 1f41c ant | 1f41d bee | 1f41e ladybug | 1f41f fish | 1f420 tropical fish
1f422 turtle | 1f424 chick | 1f426 bird | 1f427 penguin | 1f428 koala | 1f42a camel | 1f42c dolphin
1f438 frog | 1f439 hamster | 1f43a wolf | 1f43b-200d-2744-fe0f polar bear | 1f43b bear | 1f43c panda
1f43f-fe0f squirrel | 1f54a-fe0f dove | 1f577-fe0f spider | 1f980 crab | 1f981 lion | 1f982 scorpion
1f984 unicorn | 1f985 eagle | 1f986 duck | 1f987 bat | 1f988 shark | 1f989 owl | 1f98a fox
1f98b butterfly | 1f98c deer | 1f98d gorilla | 1f98e lizard | 1f98f rhinoceros | 1f990 shrimp
1f991 squid | 1f992 giraffe | 1f993 zebra | 1f994 hedgehog | 1f995 dinosaur | 1f998 kangaroo
1f999 llama | 1f99a peacock | 1f99b hippopotamus | 1f99c parrot | 1f99d raccoon | 1f99e lobster
1f9a2 swan | 1f9a3 mammoth | 1f9a5 sloth | 1f9a7 orangutan | 1f9a9 flamingo | 1fab2 beetle
1f680 rocket | 1f681 helicopter | 1f682 train | 1f68c bus | 1f691 ambulance | 1f692 fire engine
1f693 police car | 1f695 taxi | 1f69a delivery truck | 1f69c tractor | 1f3cd-fe0f motorcycle
1f3ce-fe0f racing car | 26f5 sailboat | 2708-fe0f airplane | 1f6f8 flying saucer
1f382 birthday cake | 1f383 pumpkin | 1f384 christmas tree | 1f3a1 ferris wheel | 1f308 rainbow
2600-fe0f sun | 1f31b moon | 2b50 star | 2602-fe0f umbrella | 1fa90 planet
23f0 alarm clock | 1f9ed compass | 1f9f8 teddy bear
"""


@dataclass(frozen=True)
class Concept:
    """One animated concept: the artwork's hexcode and its noun in captions."""

    hexcode: str
    name: str


def _parse(table: str) -> tuple[Concept, ...]:
    entries = (entry.strip() for line in table.split("\n") for entry in line.split("|"))
    pairs = (entry.split(" ", 1) for entry in entries if entry)
    return tuple(Concept(hexcode, name) for hexcode, name in pairs)


CONCEPTS: tuple[Concept, ...] = _parse(_ANIMATED)
"""The animated concepts, in the order of their class indices."""

CONCEPT_NAMES: tuple[str, ...] = tuple(concept.name for concept in CONCEPTS)
