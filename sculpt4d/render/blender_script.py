"""Script run by Blender: render one mesh from many cameras with Cycles. It imports nothing from this project.

python blender_script.py -- REQUEST.npz FOLDER writes FOLDER/000.png, ...; the request is written by blender.py, in the
z up world of the cameras. Lamps are attached to the camera, as in the default renderer.
"""

import math
import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector


def linear(color: np.ndarray) -> np.ndarray:
    """Convert sRGB to linear light."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def add_mesh(request: dict[str, np.ndarray]) -> None:
    """Add the mesh with its corner colours and textures: one material per texture and one without."""
    mesh = bpy.data.meshes.new("object")
    mesh.from_pydata(request["vertices"].tolist(), [], request["faces"].tolist())
    corners = request["colors"].reshape(-1, 3)
    attribute = mesh.color_attributes.new("colors", "FLOAT_COLOR", "CORNER")
    attribute.data.foreach_set("color", np.pad(linear(corners), ((0, 0), (0, 1)), constant_values=1).ravel())
    places = request["texcoords"].reshape(-1, 2) * (1, -1) + (0, 1)  # Blender counts from the lower left
    mesh.uv_layers.new(name="places").data.foreach_set("uv", places.ravel().astype(np.float32))
    textures = sorted(int(name.split("_")[1]) for name in request if name.startswith("texture_"))
    mesh.materials.append(material(None))
    for row in textures:
        mesh.materials.append(material(request[f"texture_{row}"]))
    mesh.polygons.foreach_set("material_index", (request["texture"] + 1).astype(np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(request["faces"]), bool))
    mesh.update()
    mesh.normals_split_custom_set(request["normals"].reshape(-1, 3).tolist())
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("object", mesh))


def material(texture: np.ndarray | None) -> bpy.types.Material:
    """Matte material, coloured by the corners and the texture."""
    made = bpy.data.materials.new("surface")
    made.use_nodes = True
    nodes, links = made.node_tree.nodes, made.node_tree.links
    nodes.clear()
    shader, output = nodes.new("ShaderNodeBsdfDiffuse"), nodes.new("ShaderNodeOutputMaterial")
    colors = nodes.new("ShaderNodeVertexColor")
    colors.layer_name = "colors"
    source = colors.outputs["Color"]
    if texture is not None:
        height, width = texture.shape[:2]
        image = bpy.data.images.new("texture", width, height)
        rgba = np.pad(texture[::-1].astype(np.float32) / 255, ((0, 0), (0, 0), (0, 1)), constant_values=1)
        image.pixels.foreach_set(rgba.ravel())
        image.pack()
        picture, product = nodes.new("ShaderNodeTexImage"), nodes.new("ShaderNodeVectorMath")
        picture.image = image
        product.operation = "MULTIPLY"
        links.new(source, product.inputs[0])
        links.new(picture.outputs["Color"], product.inputs[1])
        source = product.outputs["Vector"]
    links.new(source, shader.inputs["Color"])
    links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    return made


def add_lamps(camera: bpy.types.Object, request: dict[str, np.ndarray]) -> None:
    """Add suns and a lit sky. White facing one sun is as bright as in the default renderer.

    The default renderer adds sRGB values; Cycles adds linear light.
    """
    ambient = linear(request["ambient"])
    for direction, lit in zip(request["lamps"], linear(request["ambient"] + request["lamp_colors"]), strict=True):
        color = lit - ambient
        lamp = bpy.data.lights.new("lamp", "SUN")
        lamp.color, lamp.energy = color / color.max(), math.pi * color.max()
        made = bpy.data.objects.new("lamp", lamp)
        made.parent = camera
        made.rotation_euler = Vector(direction).to_track_quat("Z", "Y").to_euler()
        bpy.context.scene.collection.objects.link(made)
    world = bpy.data.worlds.new("world")
    world.use_nodes = True
    background = world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (*ambient, 1)
    bpy.context.scene.world = world


def main(request: dict[str, np.ndarray], folder: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples = "CPU", int(request["samples"])
    scene.cycles.use_denoising = scene.cycles.use_adaptive_sampling = False
    scene.cycles.pixel_filter_type = "BOX"  # a pixel is its own square, as in the default renderer
    scene.render.threads_mode, scene.render.threads = "FIXED", 1  # objects are rendered in parallel, one core each
    scene.render.use_persistent_data = True
    scene.render.film_transparent = True
    scene.render.resolution_x = scene.render.resolution_y = int(request["size"])
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
    scene.view_settings.view_transform = "Standard"
    add_mesh(request)
    lens = bpy.data.cameras.new("camera")
    lens.sensor_width, lens.clip_start = float(request["sensor"]), 0.01
    camera = bpy.data.objects.new("camera", lens)
    scene.collection.objects.link(camera)
    scene.camera = camera
    add_lamps(camera, request)
    for number, (pose, field) in enumerate(zip(request["poses"], request["fields"], strict=True)):
        camera.matrix_world, lens.angle = Matrix(pose.tolist()), float(field)
        scene.render.filepath = str(folder / f"{number:03d}.png")
        bpy.ops.render.render(write_still=True)


if __name__ == "__main__":
    stored, target = sys.argv[sys.argv.index("--") + 1 :]
    with np.load(stored, allow_pickle=False) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    main(content, Path(target))
