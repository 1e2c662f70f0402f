"""What the rules read in remarks of many sports, of physiotherapy, dance and music.

Every sentence stands with what a person reads in it: ``arms-`` the arms need improvement, ``feet+`` the feet are praised,
nothing where no region takes a side.
"""

import pytest

from mm_data.labelling.clauses import normalise
from mm_data.labelling.regions import judged_regions
from mm_data.labelling.rules import label_by_rules
from mm_data.labelling.sides import cues
from mm_data.records import CORRECT, IMPROVE, LabelledRemark, Remark
from mm_data.skeleton import REGIONS

NEGATED_PRAISE = """
His elbow isn't well placed. | arms-
The follow-through is not great. | hands-
That's not a good stance. | feet-
He doesn't bend his knees well. | legs-
The bow arm isn’t very relaxed or smooth. | arms-
her footwork isnt clean today | feet-
the hips dont turn nicely at all | torso-
I wouldn't call that a stable base, the feet are all over the place. | feet-
Your wrist was never in a good position there. | hands-
None of that was precise, especially the hands. | hands-
The landing knee is hardly stable. | legs-
I don't think the shoulders are set correctly. | torso-
Not the best head position. | head-
The left foot placement is far from ideal. | feet-
Your grip is anything but secure. | hands-
There's nothing elegant about that arm line. | arms-
That wasn't your best knee lift. | legs-
She can't control the ankle properly. | feet-
The trunk does not look strong in the plank. | torso-
I'm not happy with the elbow. | arms-
I don't like what the front foot does. | feet-
That is not what we want from the back leg. | legs-
The chin isn't where it should be. | head-
Neither the wrists nor the elbows are steady. | hands- arms-
The posture won't hold up, it isn't solid. | torso-
Your spine ain't straight enough. | torso-
Her turnout lacks control. | legs-
Those fingers are less than precise. | hands-
"""

PLAIN_NEGATION = """
Your back heel isn't coming off the floor. | feet-
The hips aren't opening up. | torso-
You never finish the rotation of the trunk. | torso-
There's no bend in the elbows. | arms-
You're missing the wrist snap. | hands-
She lands without bending her knees. | legs-
He barely uses his legs. | legs-
There's hardly any reach through the arms. | arms-
You forgot to brace your core. | torso-
The shoulder blade fails to move. | torso-
Zero knee drive on that sprint. | legs-
Very little push from the feet. | feet-
You're not looking at the target, your eyes go elsewhere. | head-
"""

NEGATED_FAULT = """
There's nothing wrong with your stance. | feet+
No problem with the head here. | head+
I can't fault his arms. | arms+
She never loses balance over that foot. | feet+
The knees don't cave in at all. | legs+
No wobble in the ankle. | feet+
The elbow isn't flaring any more. | arms+
You're no longer hunching your shoulders. | torso+
Not bad with the wrists! | hands+
I have no complaints about the core. | torso+
The heels stay down without any strain. | feet+
The torso never sways or collapses. | torso+
Nothing to fix in the grip. | hands+
You don't need to change anything about your feet. | feet+
The hips couldn't be better. | torso+
I wouldn't change a thing about that hand position. | hands+
Hard to fault the leg line. | legs+
"""

NOT_ONLY = """
Not only is the elbow good, the wrist is excellent as well. | arms+ hands+
That's not just a good stance, that's a perfect one. | feet+
No doubt, the legs are strong. | legs+
"""

HEDGES = """
The elbow's a bit low. | arms-
Your stance is slightly narrow for this weight. | feet-
The head could be a touch higher. | head-
You might want to soften your knees. | legs-
You may need a little more turn of the hips. | torso-
The wrists would benefit from staying straighter. | hands-
Perhaps bring your feet somewhat closer together. | feet-
The shoulders are kind of tense. | torso-
I'd love to see a longer spine. | torso-
Your arms can be a lot softer. | arms-
The back leg is still a little heavy on the way up. | legs-
Maybe a bit more bend in the knee. | legs-
"""

COMPARISONS = """
More knee bend. | legs-
Elbow higher! | arms-
It would be better if the foot pointed at the wall. | feet-
He pulls with the arms instead of the legs. | arms-
Less tension in the jaw, please. | head-
You're lifting with your lower back rather than your thighs. | torso-
The arms should move as one rather than separately. | arms-
A wider stance next time. | feet-
Softer hands. | hands-
"""

ADVICE = """
Bend your knees more. | legs-
Keep your elbow in. | arms-
Try to keep the chest up. | torso-
Make sure your toes point forward. | feet-
Don't drop your hands. | hands-
Do not look down. | head-
don’t let your hips sink | torso-
The elbow needs to come through earlier. | arms-
Your front knee should track over the toe. | legs-
You've got to get your feet moving. | feet-
When you release, snap your wrist. | hands-
Think about lengthening through the neck. | head-
If you turn your hips sooner you'll hit it harder. | torso-
Just relax your fingers on the keys. | hands-
Gently draw your shoulder blades together. | torso-
Focus on driving the knee up. | legs-
Avoid locking your elbows. | arms-
Remember to point your toes. | feet-
Let's get that chin tucked. | head-
Next time, a quieter upper body. | torso-
I want you to squeeze your glutes at the top. | torso-
Work on your footwork. | feet-
Chin up, shoulders down! | head- torso-
Be careful not to lift your heel. | feet-
Watch your wrist there. | hands-
It's important that your knees stay over your ankles. | legs-
"""

FAULTS = """
Your elbow is too high. | arms-
The feet are too close together and the knees are locked. | feet- legs-
You're not bending your knees enough. | legs-
She doesn't point her feet enough in the jump. | feet-
The core is weak. | torso-
Poor grip. | hands-
His arms flail on every landing. | arms-
The knees are caving in. | legs-
There is too much tension in the left hand. | hands-
The bowing wrist looks stiff and the elbow collapses. | hands- arms-
You over-rotate your shoulders. | torso-
The ankle rolls, which is a problem. | feet-
Your head is off-balance in the turn. | head-
He rushes his feet. | feet-
Your back is rounding, and that's dangerous. | torso-
You're only using your arms. | arms-
The trail leg is late. | legs-
Sloppy footwork. | feet-
"""

QUESTIONS = """
Why is the elbow so low? | arms-
Where are your eyes going? | head-
What's your left hand doing there? | hands-
How about a wider stance? | feet-
Can you bend your knees a little? | legs-
Why don't you relax the shoulders? | torso-
Don't you think the foot is turned out too far? | feet-
Isn't that a beautiful arm line? | arms+
Did you see how nicely the hips turned? | torso+
"""

CONTRAST = """
Good elbow, but the stance is too narrow. | arms+ feet-
The legs are strong; however, the arms are late. | legs+ arms-
Although your feet are well placed, your chest drops. | feet+ torso-
While the head is nice and still, the wrist is floppy. | head+ hands-
Nice knee bend, but it could be deeper. | legs-
Your arms look great, your feet not so much. | arms+ feet-
The hands are good. The elbows, on the other hand, are too wide. | hands+ arms-
Lovely line through the leg, though the foot isn't pointed. | legs+ feet-
Decent posture, yet the neck is tense. | torso+ head-
I like the grip, I just don't like the elbow. | hands+ arms-
Your stance is excellent and your knees are soft, but don't look down. | feet+ head-
The hips turn well. But they turn too early. | torso-
"""

PRAISE = """
Nice elbow. | arms+
Good extension through the back leg. | legs+
Feet well done. | feet+
The hips are exactly what we want. | torso+
I like how you keep your elbow in. | arms+
I love the way she uses her hands. | hands+
That's exactly how the knee should bend. | legs+
Your head stays perfectly still. | head+
Spot on with the foot placement. | feet+
Much better with the shoulders this time. | torso+
The wrist is right where it should be. | hands+
Great job keeping your chest up. | torso+
Great job not dropping your elbow. | arms+
Good, keep that elbow there. | arms+
Perfect! Elbow right under the ball. | arms+
Look at how smoothly his knee extends. | legs+
Your arms, shoulders and wrists are beautifully relaxed. | arms+ torso+ hands+
Her gaze is on the partner, lovely. | head+
He keeps the knee bent on landing, which is great. | legs+
You kept your elbow close instead of letting it go, which is exactly what we want. | arms+
"""

NEITHER = """
He moves his foot now. |
The left arm is straight. |
She steps forward with her right foot. |
The hands are at shoulder height. |
His knees are bent at ninety degrees. |
Now the weight is on the back leg. |
Here you can see the elbow from the side. |
Look at his left hand. |
Good morning everyone. |
Well, here we go. |
That was a great shot. |
You need to be more patient. |
"""

REFERENCE = """
Look at the back knee. It's way too straight. | legs-
Your knees are bent. That's great. | legs+
See that elbow? Not good. | arms-
The hand finishes high. Lovely. | hands+
Elbow: too low. | arms-
His arms are out to the side – perfect. | arms+
Your stance is wide, which is good, and your hips are square, which is a mistake. | feet+ torso-
Keep your arms long when your legs kick. | arms-
Put your hands behind your head. | hands-
The elbow looks good. | arms+
Step back with the left foot. | feet-
You lean back with your head. | head-
The back of the knee is not touching the mat well. | legs-
Feet shoulder-width apart would be better. | feet-
"""


def cases() -> list[tuple[str, dict[str, str]]]:
    """Every sentence with its regions."""
    kinds = (
        NEGATED_PRAISE, PLAIN_NEGATION, NEGATED_FAULT, NOT_ONLY, HEDGES, COMPARISONS, ADVICE, FAULTS, QUESTIONS, CONTRAST, PRAISE,
        NEITHER, REFERENCE,
    )  # fmt: skip
    lines = [line for kind in kinds for line in kind.strip().splitlines()]
    sides = {"-": IMPROVE, "+": CORRECT}
    return [
        (text.strip(), {r[:-1]: sides[r[-1]] for r in said.split()})
        for text, _, said in (s.rpartition("|") for s in lines)
    ]


@pytest.mark.parametrize(("text", "regions"), cases())
def test_a_sentence_is_read_as_a_person_reads_it(text: str, regions: dict[str, str]) -> None:
    result = label_by_rules(Remark("take/abc/0", "take", "abc", 1.0, text))
    assert ({} if isinstance(result, str) else result.regions) == regions
