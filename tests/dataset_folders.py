"""Folders of public datasets as their files are published or documented, with a few rows and drawn images."""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Draw = Callable[..., str]
Rows = Sequence[Mapping[str, Any]]


def write_csv(path: Path, rows: Rows, delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def table(path: Path, text: str) -> None:
    """A table from its lines, as published, header first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n", encoding="utf-8")


def draw_all(draw: Draw, folder: Path, *names: str) -> None:
    for name in names:
        draw(folder / name, zlib.crc32(f"{folder.name}/{name}".encode()))


def ham10000(root: Path, draw: Draw, *, name: str = "HAM10000_metadata", delimiter: str = ",") -> Path:
    header = "lesion_id,image_id,dx,dx_type,age,sex,localization"
    rows = (
        "HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp",
        "HAM_0000118,ISIC_0025030,bkl,histo,80.0,male,scalp",
        "HAM_0001466,ISIC_0031633,mel,histo,,unknown,ear",
        "HAM_0002761,ISIC_0029176,nv,follow_up,45.0,female,face",
    )
    table(root / name, "\n".join((header, *rows)).replace(",", delimiter))
    draw_all(draw, root / "HAM10000_images_part_1", "ISIC_0027419.jpg", "ISIC_0025030.jpg")
    draw_all(draw, root / "HAM10000_images_part_2", "ISIC_0031633.jpg", "ISIC_0029176.jpg")
    return root


def isic2018(root: Path, draw: Draw, parts: Sequence[str] = ("Training", "Validation", "Test")) -> Path:
    classes = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    images = {
        "Training": {"ISIC_0024306": "NV", "ISIC_0024307": "NV", "ISIC_0024310": "MEL"},
        "Validation": {"ISIC_0034321": "DF"},
        "Test": {"ISIC_0034524": "AKIEC"},
    }
    for part in parts:
        name = f"ISIC2018_Task3_{part}"
        rows = [{"image": i, **{c: float(c == label) for c in classes}} for i, label in images[part].items()]
        # The archive of the truth unpacks to a folder of its own name.
        write_csv(root / f"{name}_GroundTruth" / f"{name}_GroundTruth.csv", rows)
        draw_all(draw, root / f"{name}_Input", *(f"{i}.jpg" for i in images[part]))
    table(
        root / "ISIC2018_Task3_Training_LesionGroupings.csv",
        """image,lesion_id,diagnosis_confirm_type
        ISIC_0024306,HAM_0000550,serial imaging showing no change
        ISIC_0024307,HAM_0000550,serial imaging showing no change
        ISIC_0024310,HAM_0003521,histopathology""",
    )
    return root


def isic2019(root: Path, draw: Draw) -> Path:
    table(
        root / "ISIC_2019_Training_GroundTruth.csv",
        """image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK
        ISIC_0000017_downsampled,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0
        ISIC_0053463,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0""",
    )
    table(
        root / "ISIC_2019_Training_Metadata.csv",
        """image,age_approx,anatom_site_general,lesion_id,sex
        ISIC_0053463,85,head/neck,BCN_0001728,male
        ISIC_0000017_downsampled,50,posterior torso,,female""",
    )
    table(
        root / "ISIC_2019_Test_GroundTruth.csv",
        """image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK,score_weight,validation_weight
        ISIC_0034321,0.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0
        ISIC_0034322,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0""",
    )
    table(
        root / "ISIC_2019_Test_Metadata.csv",
        """image,age_approx,anatom_site_general,sex
        ISIC_0034321,60,,female
        ISIC_0034322,70,anterior torso,male""",
    )
    draw_all(draw, root / "ISIC_2019_Training_Input", "ISIC_0000017_downsampled.jpg", "ISIC_0053463.jpg")
    draw_all(draw, root / "ISIC_2019_Test_Input", "ISIC_0034321.jpg", "ISIC_0034322.jpg")
    return root


def isic_uda1(root: Path, draw: Draw) -> Path:
    """As the archive's own program writes it today."""
    table(
        root / "metadata.csv",
        """isic_id,attribution,copyright_license,age_approx,anatom_site_general,diagnosis_1,diagnosis_2,diagnosis_3,diagnosis_confirm_type,image_type,sex
        ISIC_0000017,Anonymous,CC-0,50,posterior torso,Benign,Benign melanocytic proliferations,Nevus,,dermoscopic,female
        ISIC_0000029,Anonymous,CC-0,45,,Malignant,Malignant melanocytic proliferations (Melanoma),"Melanoma, NOS",histopathology,dermoscopic,male""",  # noqa: E501
    )
    draw_all(draw, root, "ISIC_0000017.jpg", "ISIC_0000029.jpg")
    return root


def bcn20000(root: Path, draw: Draw) -> Path:
    table(
        root / "bcn_20k_train.csv",
        """bcn_filename,age_approx,anatom_site_general,diagnosis,lesion_id,capture_date,sex,split
        BCN_0000000001.jpg,55.0,anterior torso,MEL,BCN_0003884,2012-05-16,male,train
        BCN_0000000003.jpg,50.0,anterior torso,MEL,BCN_0003884,2012-05-16,male,train
        BCN_0000000002.jpg,,,NV,BCN_0000019,2015-07-09,female,train""",
    )
    draw_all(draw, root / "bcn_20k_train", *(f"BCN_000000000{n}.jpg" for n in (1, 2, 3)))
    return root


def milk10k(root: Path, draw: Draw) -> Path:
    table(
        root / "MILK10k_Training_Metadata.csv",
        """lesion_id,image_type,isic_id,attribution,copyright_license,image_manipulation,age_approx,sex,skin_tone_class,site,MONET_hair
        IL_0000652,clinical: close-up,ISIC_8149219,MILK study team,CC-BY-NC,altered,70,male,1,head_neck_face,0.16
        IL_0000652,dermoscopic,ISIC_4671410,MILK study team,CC-BY-NC,instrument only,70,male,1,head_neck_face,0.15
        IL_0003176,clinical: close-up,ISIC_3904045,MILK study team,CC-BY-NC,instrument only,45,female,,,0.61
        IL_0003176,dermoscopic,ISIC_5371928,MILK study team,CC-BY-NC,instrument only,45,female,,,0.89""",
    )
    table(
        root / "MILK10k_Training_Supplement.csv",
        """isic_id,diagnosis_full,diagnosis_confirm_type,invasion_thickness_interval
        ISIC_3904045,Melanoma Invasive,histopathology,<0.8
        ISIC_5371928,Melanoma Invasive,histopathology,<0.8
        ISIC_8149219,"Squamous cell carcinoma in situ, Bowens disease",histopathology,
        ISIC_4671410,"Squamous cell carcinoma in situ, Bowens disease",histopathology,""",
    )
    draw_all(draw, root / "MILK10k_Training_Input" / "IL_0000652", "ISIC_8149219.jpg", "ISIC_4671410.jpg")
    draw_all(draw, root / "MILK10k_Training_Input" / "IL_0003176", "ISIC_3904045.jpg", "ISIC_5371928.jpg")
    return root


def derm12345(root: Path, draw: Draw, patients: tuple[str, str, str] | None = None) -> Path:
    header = "image_id,split,super_class,malignancy,main_class_1,main_class_2,sub_class,label"
    rows = (
        "ISIC_0000001,train,melanocytic,benign,banal,compound,acral,acb",
        "ISIC_0000002,train,melanocytic,malignant,melanoma,,lentigo maligna,lm",
        "ISIC_0000003,test,melanocytic,benign,banal,compound,acral,acb",
    )
    if patients:
        header += ",patient_id"
        rows = tuple(f"{row},{patient}" for row, patient in zip(rows, patients, strict=True))  # type: ignore[assignment]
    table(root / "derm12345_metadata_train.csv", "\n".join((header, *rows[:2])))
    table(root / "derm12345_metadata_test.csv", "\n".join((header, rows[2])))
    draw_all(draw, root / "derm12345_train_part_1" / "acb", "ISIC_0000001.jpg")
    draw_all(draw, root / "derm12345_train_part_2" / "lm", "ISIC_0000002.jpg")
    draw_all(draw, root / "derm12345_test" / "acb", "ISIC_0000003.jpg")
    return root


def derm7pt(root: Path, draw: Draw) -> Path:
    meta = root / "release_v0" / "meta"
    table(
        meta / "meta.csv",
        """case_num,diagnosis,seven_point_score,pigment_network,streaks,pigmentation,regression_structures,dots_and_globules,blue_whitish_veil,vascular_structures,level_of_diagnostic_difficulty,elevation,location,sex,management,clinic,derm,case_id,notes
        1,basal cell carcinoma,0,absent,absent,absent,absent,absent,absent,arborizing,medium,nodular,abdomen,female,excision,NEL/NEL025.JPG,NEL/Nel026.jpg,,
        2,clark nevus,1,typical,absent,absent,blue areas,regular,absent,absent,medium,palpable,back,female,excision,NDL/Ndl006.jpg,NDL/Ndl005.jpg,,
        3,melanoma (in situ),4,atypical,irregular,absent,absent,irregular,present,absent,high,flat,back,male,excision,NFL/Nfl001.jpg,NFL/Nfl002.jpg,,""",  # noqa: E501
    )
    for name, index in (("train", 0), ("valid", 2), ("test", 1)):
        table(meta / f"{name}_indexes.csv", f"indexes\n{index}")
    images = root / "release_v0" / "images"
    draw_all(draw, images, "NEL/NEL025.JPG", "NEL/Nel026.jpg", "NDL/Ndl006.jpg", "NDL/Ndl005.jpg")
    draw_all(draw, images, "NFL/Nfl001.jpg", "NFL/Nfl002.jpg")
    return root


def ddi(root: Path, draw: Draw) -> Path:
    table(
        root / "ddi_metadata.csv",
        """,DDI_ID,DDI_file,skin_tone,malignant,disease
        0,1,000001.png,56,TRUE,melanoma-in-situ
        41,42,000042.png,12,FALSE,melanocytic-nevi
        35,36,000036.png,34,FALSE,seborrheic-keratosis-irritated""",
    )
    draw_all(draw, root, "000001.png", "000042.png", "000036.png")
    return root


def fitzpatrick17k(root: Path, draw: Draw) -> Path:
    hashes = [f"{n:032x}" for n in range(4)]
    header = (
        "md5hash,fitzpatrick_scale,fitzpatrick_centaur,label,nine_partition_label,three_partition_label,qc,url,"
        "url_alphanum"
    )
    rows = (
        f"{hashes[0]},3,3,drug induced pigmentary changes,inflammatory,non-neoplastic,,https://a/1.jpg,a1.jpg",
        f"{hashes[1]},2,3,dermatofibroma,benign dermal,benign,1 Diagnostic,https://a/2.jpg,a2.jpg",
        f"{hashes[2]},-1,1,melanoma,malignant melanoma,malignant,,https://a/3.jpg,a3.jpg",
        f"{hashes[3]},1,1,psoriasis,inflammatory,non-neoplastic,3 Wrongly labelled,https://a/4.jpg,a4.jpg",
    )
    table(root / "fitzpatrick17k.csv", "\n".join((header, *rows)))
    draw_all(draw, root / "images", *(f"{name}.jpg" for name in hashes))
    return root


def skincon(root: Path, draw: Draw) -> Path:
    """Annotations on three images of the folder of Fitzpatrick17k and two of DDI's."""
    from skinrl.data.sources.skincon import CONCEPTS

    def annotated(number: int, image: str, seen: Sequence[str], skip: int = 0) -> dict[str, Any]:
        return {
            "": number,
            "ImageID": image,
            **{c: int(c in seen) for c in CONCEPTS},
            "Do not consider this image": skip,
        }

    fitzpatrick17k(root, draw)
    ddi(root, draw)
    rows = [
        annotated(0, f"{1:032x}.jpg", ("Papule", "Brown(Hyperpigmentation)", "Dome-shaped")),
        annotated(1, f"{2:032x}.jpg", ("Plaque", "Black")),
        annotated(2, f"{0:032x}.jpg", (), skip=1),
    ]
    write_csv(root / "annotations_fitzpatrick17k.csv", rows)
    rows = [annotated(0, "000001.png", ("Plaque", "Purpura/Petechiae")), annotated(1, "000042.png", ("Macule",))]
    write_csv(root / "annotations_ddi.csv", rows)
    return root


def dermnet(root: Path, draw: Draw) -> Path:
    for split, names in {"train": ("acne-cystic-12.jpg", "07RosaceaFulFAce.jpg"), "test": ("milia-2.jpg",)}.items():
        draw_all(draw, root / split / "Acne and Rosacea Photos", *names)
    draw_all(draw, root / "train" / "Systemic Disease", "vitiligo-8.jpg")
    return root


def derm1m(root: Path, draw: Draw) -> Path:
    header = (
        "filename,caption,truncated_caption,source,source_type,disease_label,hierarchical_disease_label,skin_concept,"
        "body_location,symptoms,age,gender"
    )
    tail = "No visual concepts,No body location information,No symptom information"
    table(
        root / "Derm1M_v2_pretrain.csv",
        "\n".join(
            (
                header,
                f'IIYI/66_1.png,a,a,IIYI_chinese,forum,psoriasis,"inflammatory, psoriasis",{tail},80,female',
                f'youtube/x_1.jpg,b,b,youtube,edu,"irritated seborrheic keratosis (from ""sk/isk"")",k,{tail},'
                "No age information,No gender information",
                f'public/tinea-groin-120.jpg,d,d,public,knowledge,"candidiasis, tinea",k,{tail},No age information,',
                f"pubmed/y.jpg,c,c,pubmed_fail,knowledge,no definitive diagnosis,,{tail},No age information,",
            )
        ),
    )
    draw_all(draw, root, "IIYI/66_1.png", "youtube/x_1.jpg", "public/tinea-groin-120.jpg", "pubmed/y.jpg")
    return root


def omnimedvqa(root: Path, draw: Draw) -> Path:
    def question(number: int, kind: str, answer: str, options: Sequence[str], image: str) -> dict[str, Any]:
        return {
            "dataset": "ISIC2019",
            "question_id": f"ISIC2019_{number:05d}",
            "question_type": kind,
            "question": "What is the specific type of abnormality present in this image?",
            "gt_answer": answer,
            "image_path": f"Images/ISIC2019/{image}",
            **{f"option_{letter}": text for letter, text in zip("ABCD", options, strict=False)},
            "modality_type": "Dermoscopy",
        }

    diagnosis = "Disease Diagnosis"
    questions = [
        question(0, diagnosis, "Actinic Keratosis.", ["Eczema", "Rash", "Actinic Keratosis.", "Psoriasis"], "a.jpg"),
        question(1, diagnosis, "Melanocytic nevus", ["Melanocytic nevus", "Hives", "Acne", "Rosacea"], "b.jpg"),
        question(2, diagnosis, "Benign image.", ["Benign image.", "Malignant"], "b.jpg"),
        question(3, "Modality Recognition", "Dermoscopic imaging", ["MR", "Dermoscopic imaging"], "b.jpg"),
        question(4, diagnosis, "Nevus", ["Melanoma", "Nevus", "Hives", "Acne"], "b.jpg"),
    ]
    file = root / "QA_information" / "Open-access" / "ISIC2019.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(questions), encoding="utf-8")
    draw_all(draw, root / "Images" / "ISIC2019", "a.jpg", "b.jpg")
    return root
