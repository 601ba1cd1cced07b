// The 3D view: one splat scene, one camera, drawn only when something changed.
import { Color, PerspectiveCamera, Scene, Vector3, WebGLRenderer } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { SparkRenderer, SplatFileType, SplatMesh } from "@sparkjsdev/spark";
import { Bounds } from "./bounds.js";
import { CameraPath, poseFromRows } from "./path.js";

const BACKGROUND = "#0d0f12";
// Variance in square pixels that the optimiser's renderer adds to every projected splat (gsplat's eps2d).
const RENDERER_DILATION = 0.3;
const MAX_PIXEL_RATIO = 2;

export class SplatView {
  constructor(container, configuration, { onReady, onContextLost }) {
    this.container = container;
    this.configuration = configuration;
    this.onReady = onReady;
    this.path = new CameraPath(configuration.path, configuration.pathSeconds);
    this.bounds = new Bounds(this.path.poses, configuration);
    this.staysInside = true;
    this.playStart = null;
    this.pendingFrame = 0;
    this.isReady = false;
    this.#createScene(onContextLost);
    this.#createControls();
    this.resetView();
    new ResizeObserver(() => this.#resize()).observe(container);
    this.#resize();
  }

  /** @param {Uint8Array} bytes an SPZ file */
  async load(bytes) {
    this.mesh = new SplatMesh({ fileBytes: bytes, fileType: SplatFileType.SPZ });
    this.scene.add(this.mesh);
    await this.mesh.initialized;
    this.invalidate();
  }

  get isPlaying() {
    return this.playStart !== null;
  }

  resetView() {
    this.stopPath();
    this.#stopInertia();
    const pose = poseFromRows(this.configuration.camera.worldFromCamera);
    this.camera.position.copy(pose.position);
    this.camera.quaternion.copy(pose.quaternion);
    this.#pivotInFront();
    this.invalidate();
  }

  playPath() {
    this.#stopInertia();
    this.playStart = performance.now();
    this.container.dispatchEvent(new CustomEvent("playing", { detail: true }));
    this.invalidate();
  }

  stopPath() {
    if (!this.isPlaying) return;
    this.playStart = null;
    this.#pivotInFront();
    this.container.dispatchEvent(new CustomEvent("playing", { detail: false }));
  }

  /** Turns around the pivot by angles in radians; positive moves the camera right and up. */
  orbit(right, up) {
    this.stopPath();
    const offset = this.camera.position.clone().sub(this.controls.target);
    const sideways = new Vector3(1, 0, 0).applyQuaternion(this.camera.quaternion);
    offset.applyAxisAngle(this.camera.up, right).applyAxisAngle(sideways, -up);
    this.camera.position.copy(this.controls.target).add(offset);
    this.controls.update();
    this.#keepInside();
    this.invalidate();
  }

  /** Moves towards the pivot (factor < 1) or away from it. */
  dolly(factor) {
    this.stopPath();
    this.camera.position.sub(this.controls.target).multiplyScalar(factor).add(this.controls.target);
    this.controls.update();
    this.#keepInside();
    this.invalidate();
  }

  /** Whether the camera is kept near the path, where the scene looks as it was made. */
  stayInside(inside) {
    this.staysInside = inside;
    this.#keepInside();
    this.invalidate();
  }

  invalidate() {
    if (this.pendingFrame === 0) this.pendingFrame = requestAnimationFrame(() => this.#drawFrame());
  }

  #createScene(onContextLost) {
    this.renderer = new WebGLRenderer({ antialias: false, powerPreference: "high-performance" });
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, MAX_PIXEL_RATIO));
    this.renderer.domElement.addEventListener("webglcontextlost", onContextLost);
    this.container.append(this.renderer.domElement);
    this.scene = new Scene();
    this.scene.background = new Color(BACKGROUND);
    this.spark = new SparkRenderer({
      renderer: this.renderer,
      blurAmount: 0,
      enableLod: false,
      sortRadial: false,
      onDirty: () => this.invalidate(),
    });
    this.scene.add(this.spark);
    this.camera = new PerspectiveCamera();
    const pose = poseFromRows(this.configuration.camera.worldFromCamera);
    // The photograph's own upright direction, so that the first view is not rolled.
    this.camera.up.set(0, 1, 0).applyQuaternion(pose.quaternion);
    this.camera.near = this.configuration.pivotDistance / 200;
    this.camera.far = this.configuration.pivotDistance * 2000;
  }

  #createControls() {
    this.controls = new OrbitControls(this.camera, this.renderer.domElement);
    this.controls.enableDamping = true;
    this.controls.dampingFactor = 0.12;
    this.controls.rotateSpeed = 0.45;
    this.controls.minDistance = this.configuration.pivotDistance * 0.05;
    this.controls.maxDistance = this.configuration.pivotDistance * 8;
    this.controls.addEventListener("start", () => this.stopPath());
    this.controls.addEventListener("change", () => this.invalidate());
    // A page must scroll past the view: the wheel zooms only once the view was clicked.
    this.controls.enableZoom = false;
    this.container.addEventListener("pointerdown", () => (this.controls.enableZoom = true));
    this.container.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") this.controls.enableZoom = false;
    });
  }

  #keepInside() {
    if (!this.staysInside || this.isPlaying || !this.bounds.apply(this.camera)) return;
    this.#pivotInFront();
  }

  #stopInertia() {
    // Without damping an update uses up what is left of the last drag.
    this.controls.enableDamping = false;
    this.controls.update();
    this.controls.enableDamping = true;
  }

  #pivotInFront() {
    const forward = new Vector3(0, 0, -1).applyQuaternion(this.camera.quaternion);
    this.controls.target.copy(this.camera.position).addScaledVector(forward, this.configuration.pivotDistance);
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.container;
    if (width === 0 || height === 0) return;
    this.#snapToPixels();
    // The page gives the view the shape of the camera's picture, so the canvas shows that picture and nothing beside it.
    const { width: w, height: h, focal, principalPoint } = this.configuration.camera;
    this.camera.fov = (Math.atan(h / 2 / focal[1]) * 360) / Math.PI;
    this.camera.aspect = (w / focal[0]) / (h / focal[1]);
    this.camera.setViewOffset(w, h, w / 2 - principalPoint[0], h / 2 - principalPoint[1], w, h);
    this.camera.updateProjectionMatrix();
    this.renderer.setSize(width, height);
    const scale = (height * this.renderer.getPixelRatio()) / h;
    // The optimiser made splats smaller to make up for the dilation of its own pixels: with less than that dilation,
    // enlarged scenes show the gaps between splats and dark outlines.
    this.spark.preBlurAmount = RENDERER_DILATION * Math.max(1, scale * scale);
    this.invalidate();
  }

  /** A canvas that begins between two pixels would be shown shifted, and blurred, by a fraction of one. */
  #snapToPixels() {
    this.container.style.translate = "none";
    const { left, top } = this.container.getBoundingClientRect();
    const offset = (place) => Math.round(place) - place;
    this.container.style.translate = `${offset(left + window.scrollX)}px ${offset(top + window.scrollY)}px`;
  }

  #drawFrame() {
    this.pendingFrame = 0;
    if (this.isPlaying) {
      this.path.apply(this.camera, (performance.now() - this.playStart) / 1000);
      this.invalidate();
    } else {
      this.controls.update();
      this.#keepInside();
    }
    this.renderer.render(this.scene, this.camera);
    this.#announceReady();
  }

  #announceReady() {
    if (this.isReady || !this.mesh?.isInitialized) return;
    // Sorting happens in a worker: keep drawing until its first result is there.
    const isSorted = this.configuration.count === 0 || this.spark.activeSplats > 0;
    if (!isSorted) return this.invalidate();
    this.isReady = true;
    // The frame that uses the first sort order is the next one.
    requestAnimationFrame(() => {
      this.renderer.render(this.scene, this.camera);
      this.onReady(this.spark.activeSplats);
    });
  }
}
