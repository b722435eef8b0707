"""The words, clauses and templates that the grammar is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FEMALE = (
    "Mary",
    "Anna",
    "Sarah",
    "Lisa",
    "Emily",
    "Laura",
    "Jessica",
    "Rachel",
    "Amy",
    "Kate",
    "Alice",
    "Jane",
    "Susan",
    "Maria",
    "Lily",
    "Emma",
    "Lucy",
    "Helen",
    "Julia",
    "Nancy",
)
MALE = (
    "John",
    "Tom",
    "James",
    "Paul",
    "Ben",
    "Carl",
    "David",
    "Peter",
    "Daniel",
    "Michael",
    "Robert",
    "Jack",
    "Tim",
    "Adam",
    "Kevin",
    "George",
    "Henry",
    "Sam",
    "Simon",
    "Eric",
)
NAMES = FEMALE + MALE

PEOPLE = tuple(
    (word, word + "s")
    for word in ("boy", "girl", "friend", "teacher", "student", "king", "doctor", "player")
)
THINGS = (
    *(
        (word, word + "s")
        for word in ("key", "car", "book", "tree", "door", "house", "table", "train")
    ),
    ("box", "boxes"),
    *((word, word + "s") for word in ("ship", "lamp", "ring", "dog", "cat", "bird")),
)
NOUNS = PEOPLE + THINGS

TASKS = ("pronouns", "indirect_objects", "repeated_names", "agreement")

TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "pronouns": (
        "{name} went home early because",
        "After dinner, {name} sat down because",
        "Last night {name} ran to the door when",
        "The teacher smiled at {name} because",
        "Nobody at school saw {name} after",
        "The children waited for {name} until",
        "In the end, {name} did very well because",
        "This morning the dog barked at {name} when",
        "The letter from {name} says that",
        "As far as we know, everyone likes {name} because",
        "The friends of {name} say that",
        "When the rain stopped, {name} said that",
        "If you ask {name} for help,",
        "On the way home, we waved to {name} before",
        "The book that {name} bought was old, but",
        "The new house of {name} is big, and",
    ),
    "indirect_objects": (
        "When {first} and {second} went to the store, {giver} gave a drink to",
        "After {first} and {second} met at the park, {giver} handed the ball to",
        "Then {first} and {second} had a long talk. Later {giver} sent a letter to",
        "While {first} and {second} were working at the office, {giver} gave a book to",
        "{first} and {second} had dinner together, and {giver} offered the cake to",
        "Last night {first} and {second} sat in the garden. There {giver} told a story to",
        "Our friends {first} and {second} found a ring, and {giver} showed it to",
        "{first} saw {second} at the station, so {giver} said hello to",
        "As soon as {first} and {second} came to the school, {giver} threw the ball to",
        "One day {first} met {second} at the beach, and then {giver} gave a hat to",
        "The teacher called {first} and {second}. After that {giver} passed the key to",
        "{first} was at home with {second}. In the evening {giver} read a book to",
        "Because {first} and {second} were late, {giver} sent a message to",
        "At the hospital {first} talked with {second}, and {giver} brought the food to",
        "The dog ran after {first} and {second}. Quickly {giver} threw a coat to",
        "Both {first} and {second} wanted the coin, but {giver} left it to",
    ),
    "repeated_names": (
        "{a}, {b}, {c}, {d}, {cue},",
        "{a} loves {b} and {c} loves {d}. Of course {cue} loves",
        "In the story, {a} met {b} and {c} met {d}. So {cue} met",
        "{a} called {b}. {c} called {d}. We know that {cue} called",
        "At dinner {a} sat next to {b} and {c} sat next to {d}. Again {cue} sat next to",
        "{a} and {b} came early, {c} and {d} came late. Everyone saw {cue} and",
        "First {a} helped {b}, then {c} helped {d}. In short, {cue} helped",
        "We saw {a} with {b} and {c} with {d}. As always, {cue} was with",
        "The teams were {a} and {b}, {c} and {d}. The winners were {cue} and",
        "{a} works for {b}. {c} works for {d}. They say that {cue} works for",
        "Last year {a} wrote to {b} and {c} wrote to {d}. This year {cue} wrote to",
        "{a} danced with {b} while {c} danced with {d}. Later {cue} danced with",
        "The names are {a}, {b}, {c}, {d} and again {cue},",
        "{a} follows {b}, and {c} follows {d}, so {cue} follows",
        "I heard that {a} married {b} and {c} married {d}. Yes, {cue} married",
        "Yesterday {a} played with {b}, {c} played with {d}. Today {cue} played with",
    ),
    "agreement": (
        "The {subject} near the {attractor} still",
        "The old {subject} behind the {attractor} now",
        "I think that the {subject} next to the {attractor} always",
        "Today the {subject} with the {attractor} clearly",
        "The {subject} who saw the {attractor} often",
        "We know that the {subject} who met the {attractor} last night",
        "In the garden, the {subject} beside the {attractor} also",
        "Yesterday the {subject} close to the {attractor} still",
        "Last year the {subject} of the {attractor} never",
        "The {subject} that I bought for the {attractor} really",
        "It is true that the {subject} in front of the big {attractor} now",
        "On the other hand, the {subject} by the {attractor} certainly",
        "The {subject} on the left of the {attractor} never",
        "My sister says that the {subject} who called the {attractor} really",
        "As you can see, the small {subject} under the {attractor} always",
        "When we came home, the {subject} of the young {attractor} also",
    ),
}

# Parts that the training templates are composed of.

OPENINGS = (
    "",
    "Last night",
    "This morning",
    "Today",
    "Yesterday",
    "One day",
    "After dinner,",
    "In the end,",
    "On the way home,",
    "At school,",
    "In the evening",
    "When the rain stopped,",
    "As far as we know,",
    "We know that",
    "They say that",
)

PRONOUN_CLAUSES = (
    "{name} went home early",
    "{name} sat down",
    "{name} ran to the door",
    "{name} did very well",
    "{name} was happy",
    "{name} said nothing",
    "{name} bought a new car",
    "{name} came to the garden",
    "the teacher smiled at {name}",
    "nobody at school saw {name}",
    "nobody called {name}",
    "the children waited for {name}",
    "the dog barked at {name}",
    "we waved to {name}",
    "everyone likes {name}",
    "you can ask {name} for help",
    "the friends of {name} came home",
    "the book that {name} bought was old",
    "the ring that {name} found was small",
    "the new house of {name} is big",
    "the old car of {name} is small",
    "the letter from {name} was long",
)
PRONOUN_LINKS = (
    " because",
    " when",
    " after",
    " until",
    " before",
    " while",
    ", but",
    ", and",
    ", so",
    ". Then",
)
PRONOUN_SAYINGS = (
    "{name} said that",
    "{name} knows that",
    "the letter from {name} says that",
    "the book of {name} says that",
    "the friends of {name} say that",
    "the children heard from {name} that",
    "if you ask {name} for help,",
    "if you wait for {name},",
    "when we met {name} at school,",
)
PRONOUN_ENDINGS = (
    "was tired.",
    "was happy.",
    "was late.",
    "had no time.",
    "wanted to go home.",
    "liked it.",
)

MEETINGS = (
    "{first} and {second} went to the {place}",
    "{first} and {second} met at the {place}",
    "{first} and {second} were working at the {place}",
    "{first} and {second} sat in the {place}",
    "{first} and {second} came to the {place}",
    "{first} and {second} had a long talk",
    "{first} and {second} had dinner together",
    "{first} and {second} found a {thing}",
    "{first} and {second} wanted the {thing}",
    "{first} and {second} were late",
    "{first} saw {second} at the {place}",
    "{first} met {second} at the {place}",
    "{first} talked with {second}",
    "{first} was at home with {second}",
    "the teacher called {first} and {second}",
    "the dog ran after {first} and {second}",
    "our friends {first} and {second} came home",
    "both {first} and {second} sat down",
)
MEETING_OPENINGS = (*OPENINGS[:13], "Then", "At the {place}", "There")
MEETING_SUBORDINATORS = ("When", "After", "While", "As soon as", "Because")
MEETING_JOINS = (", and", ", so", ", but", ", and then", ". Later", ". Then", ". There")
MEETING_PAUSES = (*MEETING_JOINS, ". After that", ". In the evening", ". Quickly", ".")
GIVINGS = (
    "{giver} gave a {thing} to",
    "{giver} gave the {thing} to",
    "{giver} handed the {thing} to",
    "{giver} offered the {thing} to",
    "{giver} sent a {message} to",
    "{giver} told a story to",
    "{giver} showed it to",
    "{giver} left it to",
    "{giver} said hello to",
    "{giver} threw the {thing} to",
    "{giver} threw a {thing} to",
    "{giver} passed the {thing} to",
    "{giver} read a {message} to",
    "{giver} brought the {thing} to",
)
PLACES = ("store", "park", "office", "garden", "station", "school", "beach", "hospital", "house")
GIFTS = (
    "drink",
    "ball",
    "book",
    "cake",
    "ring",
    "hat",
    "key",
    "food",
    "coat",
    "coin",
    "letter",
    "box",
)
MESSAGES = ("letter", "message", "book", "story")

BONDS = (
    "loves",
    "met",
    "called",
    "helped",
    "follows",
    "married",
    "saw",
    "knows",
    "works for",
    "wrote to",
    "danced with",
    "played with",
    "sat next to",
    "was with",
    "and",
    "and",
)
COUPLE_DEEDS = ("came early", "came late", "went home", "sat down", "were happy", "had dinner")
BOND_OPENINGS = (
    *OPENINGS,
    "In the story,",
    "At dinner",
    "Last year",
    "First",
    "We saw that",
    "I heard that",
    "The teams were",
    "The names are",
)
BOND_JOINS = (" and", ", and", ".", ", then", " while", ",", ". Then")
RECALLS = (
    ".",
    ". So",
    ". Again",
    ". Later",
    ". Today",
    ". This year",
    ". Of course",
    ". In short,",
    ". As always,",
    ". Yes,",
    ", so",
    ". We know that",
    ". They say that",
    ". Everyone saw",
    ". The winners were",
)
LIST_OPENINGS = ("", "The names are", "The winners were", "Then", "We saw", "First")
LIST_RECALLS = ("", " and again", " and then")

PRESENT_OPENINGS = (
    "",
    "Today",
    "I think that",
    "We know that",
    "It is true that",
    "In the garden,",
    "On the other hand,",
    "My sister says that",
    "As you can see,",
    "They say that",
)
PAST_OPENINGS = ("Yesterday", "Last year", "When we came home,", "One day", "This morning")
LINKS = (
    "near the",
    "behind the",
    "next to the",
    "with the",
    "beside the",
    "close to the",
    "in front of the",
    "by the",
    "on the left of the",
    "under the",
)
PERSON_LINKS = ("who saw the", "who met the", "who called the", "of the", "near the", "with the")
BOUGHT_LINK = "that I bought for the"
ADJECTIVES = ("", "", "", "old ", "small ", "big ", "young ", "new ")
ADVERBS = (
    "still",
    "now",
    "always",
    "clearly",
    "often",
    "also",
    "never",
    "really",
    "certainly",
    "last night",
)
AGREEMENT_ENDINGS = ("old.", "small.", "big.", "new.", "here.", "nice.")


PARTS: tuple[Sequence[str], ...] = (
    NAMES,
    *NOUNS,
    OPENINGS,
    PRONOUN_CLAUSES,
    PRONOUN_LINKS,
    PRONOUN_SAYINGS,
    PRONOUN_ENDINGS,
    MEETINGS,
    MEETING_OPENINGS,
    MEETING_SUBORDINATORS,
    MEETING_PAUSES,
    GIVINGS,
    PLACES,
    GIFTS,
    MESSAGES,
    BONDS,
    COUPLE_DEEDS,
    BOND_OPENINGS,
    BOND_JOINS,
    RECALLS,
    LIST_OPENINGS,
    LIST_RECALLS,
    PRESENT_OPENINGS,
    PAST_OPENINGS,
    LINKS,
    PERSON_LINKS,
    (BOUGHT_LINK,),
    ADJECTIVES,
    ADVERBS,
    AGREEMENT_ENDINGS,
    ("she", "he", "is", "are", "was", "were"),
)

SENTENCE_STARTS = frozenset(("the", "nobody", "we", "everyone", "you", "if", "when", "our", "both"))
