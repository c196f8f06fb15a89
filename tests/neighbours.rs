//! Adversarial examples (`models/recipes/adversarial` made them from the bundled demo): accepted as they are, and not any more
//! once their neighbours are asked; the demo's honest recordings are.

mod common;

use common::place::{Place, root};

fn example(name: &str) -> String {
    format!("{}/tests/golden/adversarial/{name}.flac", root())
}

fn place(more: &str) -> Place {
    Place::with_pack("{root}/models/default", more)
}

#[test]
fn forged_voices_that_pass_as_real_fall_among_their_neighbours() {
    let place = place("");
    // A resynthesised voice is none that is real,
    place.run(&["detect", &example("spoof_clean")]).expect(1);
    for attack in ["spoof_30", "spoof_20"] {
        let file = example(attack);
        // until it is disturbed,
        place.run(&["detect", &file]).expect(0);
        let found = place.run(&["--json", "detect", "--check-neighbours", &file]);
        let found = found.expect(1).json();
        assert_eq!(found["verdict"], "inconclusive", "{found}");
        assert_eq!(found["neighbours"]["suspicious"], true, "{found}");
    }
}

#[test]
fn neighbours_are_asked_where_the_configuration_says_so() {
    let place = place("[health]\nneighbours = 'always'\n");
    let found = place.run(&["--json", "detect", &example("spoof_30")]);
    let found = found.expect(1).json();
    assert_eq!(found["verdict"], "inconclusive", "{found}");
    // What is rejected anyway is not.
    let found = place.run(&["--json", "detect", &example("spoof_clean")]);
    let found = found.expect(1).json();
    assert!(found["neighbours"].is_null(), "{found}");
}

#[test]
fn a_stranger_made_to_sound_like_somebody_is_asked_too() {
    let place = place("[spoof]\nenabled = false\n");
    let enrolment = format!("{}/examples/scene/enrol/allison_1.flac", root());
    place.run(&["enroll", "allison", &enrolment]).expect(0);
    place
        .run(&["verify", "allison", &example("speaker_clean")])
        .expect(1);
    for attack in ["speaker_30", "speaker_20"] {
        place
            .run(&["verify", "allison", &example(attack)])
            .expect(0);
    }
    let hold = |file: &str| {
        let ended = place.run(&["--json", "verify", "allison", "--check-neighbours", file]);
        ended.json()["neighbours"]["speaker"].clone()
    };
    let found = hold(&example("speaker_30"));
    assert_eq!(found["suspicious"], true, "{found}");
    // From standard input, which can be read only once, alike.
    let piped = std::fs::File::open(example("speaker_30")).expect("an example");
    let asked = ["--json", "verify", "allison", "--check-neighbours", "-"];
    let ended = place
        .start_with(&asked, piped.into(), &[])
        .end(common::PATIENCE);
    assert_eq!(ended.json()["neighbours"]["speaker"], found);
    let honest = hold(&enrolment);
    assert_eq!(
        (&honest["suspicious"], &honest["keep"]),
        (&false.into(), &1.0.into()),
        "{honest}"
    );
}
