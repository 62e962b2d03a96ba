"""The extension as Slicer builds and installs it, with small stand-ins for Slicer's CMake macros.

The stand-ins do what Slicer's macros do with scripts and resources: copy them below the build
tree's module folder, then install what the macro put there.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = Path("lib/Slicer-5.12/qt-scripted-modules")

SLICER_CONFIG = f"""
set(Slicer_FOUND TRUE)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR {MODULES})
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR {MODULES})
set(Slicer_USE_FILE ${{CMAKE_CURRENT_LIST_DIR}}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${{CMAKE_CURRENT_LIST_DIR}}/Nothing.cmake)
set(Slicer_EXTENSION_CPACK ${{CMAKE_CURRENT_LIST_DIR}}/Nothing.cmake)
"""

USE_SLICER = """
# As CTK's: scripts and resources keep their place below the source folder; NO_INSTALL_SUBDIR
# installs the folder's contents instead of the folder.
macro(ctkMacroCompilePythonScript)
  cmake_parse_arguments(MY "NO_INSTALL_SUBDIR;GLOBAL_TARGET"
    "TARGET_NAME;SOURCE_DIR;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(name TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if(NOT DEFINED MY_${name})
      message(FATAL_ERROR "${name} is mandatory")
    endif()
  endforeach()
  set(copies)
  foreach(file IN LISTS MY_SCRIPTS MY_RESOURCES)
    add_custom_command(OUTPUT ${MY_DESTINATION_DIR}/${file}
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${file}
      COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_CURRENT_SOURCE_DIR}/${file}
      ${MY_DESTINATION_DIR}/${file})
    list(APPEND copies ${MY_DESTINATION_DIR}/${file})
  endforeach()
  add_custom_target(Copy${MY_TARGET_NAME} ALL DEPENDS ${copies})
  if(MY_NO_INSTALL_SUBDIR)
    install(DIRECTORY ${MY_DESTINATION_DIR}/ DESTINATION ${MY_INSTALL_DIR} USE_SOURCE_PERMISSIONS)
  else()
    install(DIRECTORY ${MY_DESTINATION_DIR} DESTINATION ${MY_INSTALL_DIR} USE_SOURCE_PERMISSIONS)
  endif()
endmacro()

macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS;WITH_SUBDIR" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MODULE_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown arguments: ${MODULE_UNPARSED_ARGUMENTS}")
  endif()
  foreach(file IN LISTS MODULE_SCRIPTS MODULE_RESOURCES)
    add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/${file}
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${file}
      COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_CURRENT_SOURCE_DIR}/${file}
      ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/${file})
    list(APPEND module_copies
      ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/${file})
    get_filename_component(folder ${file} DIRECTORY)
    install(FILES ${CMAKE_CURRENT_SOURCE_DIR}/${file}
      DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/${folder})
  endforeach()
  add_custom_target(Copy${MODULE_NAME} ALL DEPENDS ${module_copies})
endmacro()

macro(slicer_add_python_unittest)
  file(APPEND ${CMAKE_BINARY_DIR}/unittests.txt "${ARGN}\\n")
endmacro()
"""


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """(build tree, install tree) of the extension, as `cmake`, `cmake --build` and `cmake
    --install` leave them.
    """
    if not shutil.which("cmake"):
        pytest.skip(
            "cmake is not installed: THE EXTENSION'S BUILD AND INSTALL WERE NOT TESTED (apt-get"
            " install cmake)"
        )
    folder = tmp_path_factory.mktemp("cmake")
    slicer, build, install = folder / "slicer", folder / "build", folder / "install"
    slicer.mkdir()
    (slicer / "SlicerConfig.cmake").write_text(SLICER_CONFIG)
    (slicer / "UseSlicer.cmake").write_text(USE_SLICER)
    (slicer / "Nothing.cmake").write_text("")
    no_compiler = [
        f"-DCMAKE_{language}_{what}"
        for language in ("C", "CXX")  # nothing is compiled: none is needed
        for what in (f"COMPILER={shutil.which('true')}", "COMPILER_FORCED=ON")
    ]
    for command in (
        [
            "-S",
            ROOT,
            "-B",
            build,
            f"-DSlicer_DIR={slicer}",
            f"-DCMAKE_INSTALL_PREFIX={install}",
            "-DBUILD_TESTING=ON",
            *no_compiler,
        ],
        ["--build", build],
        ["--install", build],
    ):
        done = subprocess.run(
            ["cmake", *map(str, command)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return build, install


def _files(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1], ids=["build tree", "install tree"])
def test_the_library_lands_beside_the_module_with_all_it_needs(trees, which):
    found = _files(trees[which] / MODULES)
    library = {
        f"MedLLMSegLib/{name}"
        for name in _files(ROOT / "MedLLMSegLib")
        if not name.endswith("CMakeLists.txt")
    }
    assert library <= found, f"not there: {sorted(library - found)[:5]}"
    assert {"MedLLMSeg.py", "Resources/UI/MedLLMSeg.ui", "Resources/Icons/MedLLMSeg.png"} <= found
    assert any(name.endswith(".safetensors") for name in found)
    assert not any("Testing" in name or "CMakeLists" in name for name in found)


USE_THE_LIBRARY = """
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.registry.catalogue import BUNDLES, list_models
from MedLLMSegLib.slicer_bridge.install.packages import REQUIREMENTS
print(SegmentationLogic().result, BUNDLES, len(list_models(kind=None)), REQUIREMENTS.is_file())
"""


@pytest.mark.slow
def test_the_installed_library_works_from_its_folder(trees):
    """As in Slicer, where the folder of MedLLMSeg.py is on the path, and nothing of the
    repository is.
    """
    modules = trees[1] / MODULES
    done = subprocess.run(
        [sys.executable, "-c", USE_THE_LIBRARY],
        cwd=modules,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(modules), "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    models = len(list((ROOT / "MedLLMSegLib/bundles").glob("*/configs/metadata.json")))
    assert done.stdout.split() == [
        "None",
        str(modules / "MedLLMSegLib/bundles"),
        str(models),
        "True",
    ]


@pytest.mark.slow
def test_every_part_that_the_product_needs_is_installed(trees):
    """Named one by one, so that a pattern in a CMakeLists.txt that goes wrong cannot take this
    test along.
    """
    found = _files(trees[1] / MODULES)
    packages = (
        "core",
        "io/dicom",
        "data",
        "cli",
        "llm",
        "networks/parts",
        "slicer_bridge/panel",
        "slicer_bridge/presenter",
        "training/segmenter",
        "worker",
    )
    assert {f"MedLLMSegLib/{name}/__init__.py" for name in packages} <= found
    bundles = {
        f"MedLLMSegLib/bundles/{model}/{name}"
        for model in ("hippocampus-t1", "brain-t1-localizer")
        for name in (
            "configs/metadata.json",
            "models/model.safetensors",
            "docs/README.md",
            "LICENSE",
        )
    }
    others = {
        "MedLLMSegLib/bundles/hippocampus-t1/configs/inference.json",
        "MedLLMSegLib/bundles/llm/LICENSE",
        "MedLLMSegLib/bundles/llm/smollm2-135m-layer29.safetensors",
        "MedLLMSegLib/bundles/licences/CC-BY-SA-4.0.txt",
        "MedLLMSegLib/slicer_bridge/install/requirements.txt",
        "MedLLMSegLib/slicer_bridge/install/requirements-train.txt",
        "MedLLMSegLib/worker/__main__.py",
    }
    assert bundles | others <= found, sorted((bundles | others) - found)


START_A_WORKER = """
import sys, time
from MedLLMSegLib.worker.client import WorkerClient
environment = {"PATH": "/usr/bin", "PYTHONDONTWRITEBYTECODE": "1"}
client = WorkerClient(sys.executable, environment, "worker.log")
client.start()
end = time.monotonic() + 60
while not client.ready and time.monotonic() < end:
    time.sleep(0.05)
    client.poll()
print(client.ready)
client.close()
"""


@pytest.mark.slow
def test_the_worker_starts_from_the_installed_tree(trees, tmp_path):
    """As PythonSlicer starts it: another current folder, and the library's place from the client
    alone.
    """
    modules = trees[1] / MODULES
    done = subprocess.run(
        [sys.executable, "-c", START_A_WORKER],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(modules), "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin"},
        check=False,
    )
    assert done.stdout.strip() == "True", done.stderr + (tmp_path / "worker.log").read_text()


@pytest.mark.slow
def test_slicers_own_test_runner_gets_the_module(trees):
    script, value, *_ = (trees[0] / "unittests.txt").read_text().strip().split(";")
    assert (script, value) == ("SCRIPT", "MedLLMSeg.py")
