import io

import numpy as np
import pytest
import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    AutoModel,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from seqrec.content.audio import AudioEncoder
from seqrec.content.musicnn import MusicnnConfig, MusicnnFeatureExtractor, MusicnnModel, save_from_wheel

soundfile = pytest.importorskip("soundfile")

RATE = 16_000
EXPECTED = [-0.00609, -0.00251, 0.15037, -0.01418, -0.00600, 0.07645]  # by a port that reads the checkpoint itself
SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def tone(pitch, seconds, rate=RATE, harmonics=(1.0, 0.5, 0.25)):
    """A steady tone with some overtones, (num_samples,)."""
    time = np.arange(round(seconds * rate)) / rate
    waves = [loud * np.sin(2 * np.pi * pitch * (place + 1) * time) for place, loud in enumerate(harmonics)]
    return (0.2 * np.sum(waves, axis=0)).astype(np.float32)


def melody(pitches, harmonics):
    return np.concatenate([tone(pitch, 0.5, harmonics=harmonics) for pitch in pitches])


def sound(samples, rate=RATE, kind="WAV", subtype="FLOAT"):
    """The bytes of a sound file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def save(folder, model, extractor):
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return str(folder)


def tiny_wav2vec2(folder):
    config = Wav2Vec2Config(
        conv_dim=(16, 16),
        conv_kernel=(400, 3),
        conv_stride=(160, 2),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        vocab_size=4,
        **SHAPE,
    )
    return save(folder, Wav2Vec2Model(config), Wav2Vec2FeatureExtractor(do_normalize=False))


def tiny_ast(folder):
    model = ASTModel(ASTConfig(max_length=100, num_mel_bins=32, patch_size=16, **SHAPE))
    return save(folder, model, ASTFeatureExtractor(max_length=100, num_mel_bins=32))


def tiny_whisper(folder):
    layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes = {"d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": 8, "num_mel_bins": 80}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    model = WhisperModel(WhisperConfig(**layers, **sizes, **tokens))
    return save(folder, model, WhisperFeatureExtractor())


def tiny_clap(folder):
    text = {"vocab_size": 8, "max_position_embeddings": 8, **SHAPE}
    audio = {
        "patch_embeds_hidden_size": 8,
        "hidden_size": 32,
        "depths": [1, 1, 1],
        "num_attention_heads": [1, 2, 4],
        "num_hidden_layers": 3,
    }
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=24))
    return save(folder, model, ClapFeatureExtractor(truncation="rand_trunc"))


def tiny_musicnn(folder):
    config = MusicnnConfig(timbre_channels=4, rhythm_channels=2, middle_channels=4, hidden_size=16)
    return save(folder, MusicnnModel(config), MusicnnFeatureExtractor())


@pytest.fixture(scope="module")
def wav2vec2_folder(tmp_path_factory):
    torch.manual_seed(0)
    return tiny_wav2vec2(tmp_path_factory.mktemp("encoders") / "tiny-wav2vec2")


@pytest.fixture(scope="module")
def musicnn():
    return AudioEncoder.from_pretrained()


@pytest.mark.parametrize(
    "tiny, width",
    [(tiny_wav2vec2, 16), (tiny_ast, 16), (tiny_whisper, 16), (tiny_clap, 24), (tiny_musicnn, 16)],
)
def test_any_model_of_sounds_gives_unit_vectors_that_tell_sounds_apart(tiny, width, tmp_path):
    encoder = AudioEncoder.from_pretrained(tiny(tmp_path / "tiny"))
    sounds = [sound(tone(220, 1)), sound(tone(1760, 2.5)), sound(tone(220, 1)), sound(tone(220, 14))]
    vectors = encoder.encode(sounds).vectors
    assert (encoder.width, encoder.name, encoder.modality) == (width, "tiny", "audio")
    assert vectors.shape == (4, width) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4
    np.testing.assert_array_equal(encoder.encode(sounds[3:]).vectors[0], vectors[3])  # nothing is left to chance


def test_a_vector_is_the_unit_mean_of_the_states(wav2vec2_folder):
    samples = tone(330, 1)
    with torch.inference_mode():
        states = AutoModel.from_pretrained(wav2vec2_folder).eval()(torch.from_numpy(samples)[None]).last_hidden_state
    mean = states[0].mean(dim=0).numpy()
    encoded = AudioEncoder.from_pretrained(wav2vec2_folder).encode([sound(samples)])
    np.testing.assert_allclose(encoded.vectors[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_whisper_averages_the_sound_and_not_the_silence_that_fills_its_window(tmp_path):
    encoder = AudioEncoder.from_pretrained(tiny_whisper(tmp_path / "tiny"))
    samples = tone(330, 3)
    batch = encoder.extractor(samples, sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        states = encoder.model.get_encoder()(**batch).last_hidden_state[0]
    mean = states[:150].mean(dim=0).numpy()  # 50 states a second
    vectors = encoder.encode([sound(samples)]).vectors
    np.testing.assert_allclose(vectors[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_a_sound_longer_than_an_extractor_takes_is_read_in_pieces(tmp_path):
    encoder = AudioEncoder.from_pretrained(tiny_ast(tmp_path / "tiny"))  # one second at a time
    first, second = tone(220, 1), tone(1760, 1)
    mean = (encoder._vector(first) + encoder._vector(second)) / 2
    [vector] = encoder.encode([sound(np.concatenate([first, second, tone(50, 0.4)]))]).vectors
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("rate, kind, subtype", [(44_100, "WAV", "PCM_24"), (22_050, "FLAC", "PCM_16")])
def test_rate_channels_and_format_do_not_matter(wav2vec2_folder, rate, kind, subtype):
    encoder = AudioEncoder.from_pretrained(wav2vec2_folder)
    samples = tone(220, 2, rate)
    stereo = np.stack([samples * 1.5, samples * 0.5], axis=1)
    vectors = encoder.encode([sound(tone(220, 2)), sound(stereo, rate, kind, subtype)]).vectors
    np.testing.assert_allclose(vectors[1], vectors[0], atol=0.01)


def test_the_first_thirty_seconds_are_read_and_longer_sounds_counted(wav2vec2_folder):
    encoder = AudioEncoder.from_pretrained(wav2vec2_folder)
    whole = tone(220, 30, 8_000)
    longer = np.concatenate([whole, tone(1760, 3, 8_000)])
    encoded = encoder.encode([sound(samples, 8_000) for samples in (whole, longer, whole[:8_000])])
    assert (encoded.num_cut, encoded.unreadable, encoder.reads) == (1, {}, "30 seconds")
    np.testing.assert_array_equal(encoded.vectors[0], encoded.vectors[1])


def test_unreadable_sounds_are_reported_and_the_others_encoded(wav2vec2_folder):
    encoder = AudioEncoder.from_pretrained(wav2vec2_folder)
    holed = tone(220, 1)
    holed[100] = np.nan
    good = sound(tone(220, 1))
    flac = sound(tone(220, 1), kind="FLAC", subtype="PCM_16")
    contents = [
        b"",
        good,
        b"no sound at all",
        sound(np.zeros(0, np.float32)),
        sound(holed),
        flac[:60],
        good[:20],
        good,
    ]
    heard = []
    encoded = encoder.encode(contents, heard.append)
    assert sorted(encoded.unreadable) == [0, 2, 3, 4, 5, 6]
    assert all(reason.startswith("not a sound: ") for reason in encoded.unreadable.values())
    assert not encoded.vectors[sorted(encoded.unreadable)].any()
    np.testing.assert_array_equal(encoded.vectors[1], encoded.vectors[7])
    np.testing.assert_allclose(np.linalg.norm(encoded.vectors[1]), 1, atol=1e-6)
    assert heard == [1] * len(contents)


def test_a_rate_that_no_sound_has_is_reported(wav2vec2_folder):
    encoded = AudioEncoder.from_pretrained(wav2vec2_folder).encode([sound(tone(220, 0.1), 2_000_000_011)])
    assert encoded.unreadable == {0: "not a sound: 2,000,000,011 samples a second"}


def test_silence_and_a_click_have_vectors_and_no_sounds_give_none(wav2vec2_folder):
    encoder = AudioEncoder.from_pretrained(wav2vec2_folder)
    encoded = encoder.encode([sound(np.zeros(RATE)), sound(np.full(3, 0.1))])
    assert not encoded.unreadable and np.isfinite(encoded.vectors).all()
    assert encoder.encode([]).vectors.shape == (0, 16)


def test_musicnn_reads_pieces_of_187_frames_and_fills_one_from_a_short_sound():
    extractor = MusicnnFeatureExtractor()
    assert extractor(tone(220, 7), sampling_rate=RATE)["input_features"].shape == (2, 187, 96)
    short = extractor(tone(220, 1))["input_features"]
    np.testing.assert_allclose(short, extractor(np.tile(tone(220, 1), 3)[: 186 * 256])["input_features"])
    assert short.shape == (1, 187, 96) and short[0, 100:].any()
    with pytest.raises(ValueError, match="8000 samples a second, expected 16000"):
        extractor(tone(220, 1), sampling_rate=8_000)


def test_a_wheel_without_the_checkpoint_is_refused(tmp_path):
    wheel = tmp_path / "musicnn.whl"
    wheel.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="does not hold the checkpoint"):
        save_from_wheel(wheel, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.network
def test_musicnn_gives_the_numbers_of_an_independent_port(musicnn):
    [vector] = musicnn.encode([sound(melody([220, 330, 440, 550, 262, 294, 247, 392], (1.0, 0.5, 0.25)))]).vectors
    assert musicnn.width == 200
    np.testing.assert_allclose(vector[:6], EXPECTED, atol=1e-4)


@pytest.mark.network
def test_musicnn_finds_the_same_timbre_nearer_than_another(musicnn):
    timbres = {"flute": (1.0, 0.1), "reed": (1.0, 0.0, 0.9, 0.0, 0.8, 0.0, 0.7, 0.0, 0.6)}
    melodies = [[262, 294, 330, 349, 392, 440], [440, 392, 330, 262, 220, 247], [523, 330, 494, 294, 392, 349]]
    sounds = [sound(melody(notes, harmonics)) for harmonics in timbres.values() for notes in melodies]
    vectors = musicnn.encode(sounds).vectors
    likeness = vectors @ vectors.T
    same = min(likeness[:3, :3].min(), likeness[3:, 3:].min())
    assert same > likeness[:3, 3:].max()
