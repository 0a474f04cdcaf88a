#![no_main]

use headwater::model::{Buffers, Model};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

// The checksum is made to fit, else the fuzzer would never get behind it.
fuzz_target!(|content: &[u8]| {
    let mut bytes = content.to_vec();
    bytes.extend_from_slice(&Sha256::digest(content));
    if let Ok(model) = Model::from_bytes(&bytes) {
        let mut buffers = Buffers::default();
        buffers.scratch.set_texts(["PIZZA PALACE #12"]);
        let answer = model.answer(&mut buffers, Some(-1.0));
        assert!(answer.top.iter().all(|(_, p)| (0.0..=1.0).contains(p)));
    }
});
