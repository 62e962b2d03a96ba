<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" sourcelanguage="en">
<context>
    <name>MedLLMSeg</name>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source> cm</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source> kg</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>% ICV</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>&amp;Device:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>&amp;Input volume:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>&amp;Model:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>&amp;Restore</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>&amp;Side:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>&amp;Uncertainty overlay</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>A Markups ROI: nothing is looked for outside of its box. Draw it with Slicer's toolbar Markups.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>A further image of the same patient, which the chosen model takes. It is brought onto the grid of the input volume, and must be registered to it.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>A scan to train on.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>A segmentation or label map of the lungs: the model looks at the rectangle around it. Without one, at the whole image.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>About the model</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Add all</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Add pair</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Advanced</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>All of the s&amp;cene</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Answer</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Average so many more views of the scan: a little better and surer, and as many times slower.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Calibrated probability, 0 to 1</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Choose it</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Class</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Confidence</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Copy as &amp;Python</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Copy as command</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Copy details</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Copy log</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Copy ta&amp;ble</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Copy te&amp;xt</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Copy these lines to the clipboard.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Create new segmentation</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Curve</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Delete selected...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Delete...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Diagnose</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Discard</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Edit in Segment Editor</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Engine:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Every &amp;time point</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Evidence overlay</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Exp.
Dice</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Explain</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>From this probability on the class is the answer; without one, the likeliest class is</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Go on</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Height in cm</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Height, weight:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>How long to train. More cases deserve more time.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>How smooth the surfaces in the 3D view are, 0 to 100 percent; the segmentation itself, its volumes and its slices stay as they are.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Image:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Import .zip...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Import folder...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>L - R
%</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Left-right asymmetry: 100 (L - R) / ((L + R) / 2), positive where the left is larger</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Licence</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Load sample head (MRHead)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Log</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Lungs:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Mean probability over the structure's voxels, 0 to 1</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/MedLLMSeg.py"/>
        <source>MedLLMSeg</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Mi&amp;nutes:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Model:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Models</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>More vie&amp;ws:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Name:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>None</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>None (whole image)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Not now</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Of a scan that a sequence browser shows, segment all images; else only the one that is shown.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Onl&amp;y inside:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Opacity of the map</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Open folder</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Open the file that holds what the worker process wrote.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Open worker's log</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/MedLLMSeg.py"/>
        <source>Outlines anatomy in medical scans, such as the structures of the brain in MR of any contrast, with vision transformers that hold a frozen block of a pretrained language model. The list of models says which structures, in which kind of scan, and how well; others can be imported, or trained here. See the &lt;a href="https://github.com/medllmseg/SlicerMedLLMSeg"&gt;documentation&lt;/a&gt;. For research use only; it is not a medical device.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Parts of the hippocampi</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Percent of the intracranial volume</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Probability</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Record</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Remove</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Scans:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Se&amp;gmentation:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Search: organ, modality, licence, ...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Segment</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Segment every scan that is loaded, one after the other, each into a new segmentation beside it.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Segmentati&amp;on:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Segmentation</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Sequence:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Show heat map</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Show only models in whose description these words occur.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Show the surfaces in the 3D view.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Size</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Smooth &amp;3D:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>St&amp;art from:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Structure</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Structure to explain</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>The Dice that the model expects of this outline, from its own confidence; an exclamation mark where it is low: look at these first</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>The class that was decided on</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>The image to be judged: a flat X-ray image or a scan, as the model wants it; of a sequence, the node that shows it.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>The model that judges.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>The model whose weights the training begins with.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>The pairs to train on.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>The scan to be outlined; of a sequence, every time point is. For a model of several images, a sequence or a volume of several values that holds them all.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>The side to be outlined, for organs with two. Of a crop around one organ: which one it shows.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>The whole scan</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Threshold</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Train</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Value</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Verify</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Vo&amp;lume:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Volume</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Volume in millilitres</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Weight in kg</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>What</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>What computes the outlines. OpenVINO and ONNX Runtime run on the processor, need packages of their own, and first prepare the model, which can take minutes.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>What computes. Automatic takes the GPU if there is one, and the processor otherwise.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>What happened in this session.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>What the model tells apart</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>What the new model is to be called.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>What the patient's record says; leave empty what is not known.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>What was drawn on it. Segments of the same name are one structure.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>What was outlined</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>What was outlined; a tick shows it in the views</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Where the result goes. In an existing segmentation only the segments of earlier runs are replaced.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>Your models, and what was fetched, measured or left over.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/MedLLMSeg.py"/>
        <source>brain-mr was trained on label maps of SynthSeg, hippocampus-t1 on the Medical Segmentation Decathlon (Vanderbilt University Medical Center); the card in each model's folder names its data. The language-model block is a layer of SmolLM2 by Hugging Face.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>mL</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>not known</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSeg/Resources/UI/MedLLMSeg.ui"/>
        <source>such as spleen-ct</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>panel.consent</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/consent.py"/>
        <source>MedLLMSeg</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/consent.py"/>
        <source>Nothing was installed.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/consent.py"/>
        <source>PyTorch could not be installed; check the network and the disk (the section Log has the details), or install it in the PyTorch Utils module, and press the button again.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/consent.py"/>
        <source>The Python packages are installed; press the button again.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/consent.py"/>
        <source>The installation was stopped.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/consent.py"/>
        <source>The licence was not accepted.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/consent.py"/>
        <source>The licence {licence} of {model} was accepted.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>panel.learning_curve</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/learning_curve.py"/>
        <source>Loss, Dice</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/learning_curve.py"/>
        <source>Step</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/learning_curve.py"/>
        <source>Training loss</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/learning_curve.py"/>
        <source>Validation Dice</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>panel.log_section</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/log_section.py"/>
        <source>Copied.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/log_section.py"/>
        <source>Something unexpected went wrong ({error}); see the section Log.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/log_section.py"/>
        <source>The worker has written no log yet.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>panel.models_section</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/models_section.py"/>
        <source>Delete model</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/models_section.py"/>
        <source>Delete the model "{model}" from disk ({size} MB)?</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/models_section.py"/>
        <source>Folder of a model bundle</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/models_section.py"/>
        <source>Importing...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/models_section.py"/>
        <source>Licence</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/models_section.py"/>
        <source>Model bundle</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/models_section.py"/>
        <source>Reading the weights...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/models_section.py"/>
        <source>Zip files (*.zip)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/models_section.py"/>
        <source>{model} was deleted.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/models_section.py"/>
        <source>{model} was imported and is chosen in the section Diagnose.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/models_section.py"/>
        <source>{model} was imported and is chosen.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/models_section.py"/>
        <source>{model}: the weights are those of its sha256.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>panel.result_section</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/result_section.py"/>
        <source>Restored; press Restore again to undo that.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/result_section.py"/>
        <source>The table of the batch before is back; press Restore again to undo that.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>panel.segment_section</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/segment_section.py"/>
        <source>MRHead could not be downloaded; check the network, or load a scan of your own.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>panel.stored_section</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/stored_section.py"/>
        <source>Delete</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>panel.train_section</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/panel/train_section.py"/>
        <source>Discard</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.choices</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/choices.py"/>
        <source>Apple GPU (MPS)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/choices.py"/>
        <source>Automatic ({found})</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/choices.py"/>
        <source>Both, or not known</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/choices.py"/>
        <source>Left</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/choices.py"/>
        <source>NVIDIA GPU (CUDA)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/choices.py"/>
        <source>ONNX Runtime (processor)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/choices.py"/>
        <source>OpenVINO (processor)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/choices.py"/>
        <source>Processor (CPU)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/choices.py"/>
        <source>PyTorch</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/choices.py"/>
        <source>Right</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.device_text</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/device_text.py"/>
        <source>Apple GPU</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/device_text.py"/>
        <source>CPU, {count} cores</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/device_text.py"/>
        <source>CPU; PyTorch cannot use the GPU</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/device_text.py"/>
        <source>NVIDIA GPU</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.diagnose_view</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Accept and diagnose</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Accept the model's licence, and then diagnose.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Accuracy</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Cancelled; the scene is as it was.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Choose a model.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Choose an image; if there is none, load it.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Classes</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Diagnose</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Install and diagnose</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Install these packages into Slicer, and then diagnose.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>It failed; the scene is as it was.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Lay over the image what in it speaks for the answer; it shows where the network looked, not where a disease is.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Licence</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Memory</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Modality</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Model</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Neither install nor accept anything.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Research use only; not a medical device. What is shown here is no medical diagnosis.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>Tell {classes} apart in {image}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>There is no heat map.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>There is no model that diagnoses yet. Import one in the section Models, or train one on your own images with medllmseg train --task classify.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>There is no model that diagnoses; import or train one.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/diagnose_view.py"/>
        <source>{image}: {answer}, with a probability of {probability}, in {seconds} s.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.error_details</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/error_details.py"/>
        <source>Copy the error with versions and no patient data, for a bug report.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.explain_view</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/explain_view.py"/>
        <source>Cancelled; the scene is as it was.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/explain_view.py"/>
        <source>Choose a structure and press Explain.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/explain_view.py"/>
        <source>Evidence for {structure}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/explain_view.py"/>
        <source>Explain</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/explain_view.py"/>
        <source>It failed; the scene is as it was.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/explain_view.py"/>
        <source>Map where in the scan the evidence for this structure lies (Grad-CAM).</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/explain_view.py"/>
        <source>Press Segment first.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/explain_view.py"/>
        <source>Show where the evidence lies, over the scan.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/explain_view.py"/>
        <source>What is to be explained: a structure that was found.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.extra_inputs</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/extra_inputs.py"/>
        <source>a number</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/extra_inputs.py"/>
        <source>one of {values}</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.further_images_view</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/further_images_view.py"/>
        <source>Choose the image {image}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/further_images_view.py"/>
        <source>The images in {scan}, by their order: {images}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/further_images_view.py"/>
        <source>The model takes more images than can be chosen here; load all in one file (4D), or use the console.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/further_images_view.py"/>
        <source>The model takes several images of one patient; untick all scans.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/further_images_view.py"/>
        <source>{name} is chosen twice; choose another one as {image}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/further_images_view.py"/>
        <source>{scan} holds {found} images, and the model takes {needed} of one patient; load a file of as many, or each image as a volume of its own.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.heart_view</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/heart_view.py"/>
        <source>Ejection fraction: left ventricle {left}, right ventricle {right}; all figures are in the table "{table}".</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/heart_view.py"/>
        <source>not available</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.models_view</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>About the model</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>About {model}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Accuracy</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Choose a model.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Choose the model that suits this scan: {model}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Compare the model's weights with its sha256.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Copy a model bundle, {what}, into your models.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Delete this model from disk.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Draw each hippocampus as an anterior and a posterior part, by {model} ({modality}).</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Licence</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Memory</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Modality</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Open the folder that holds the model.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Read the licence of the model's weights.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Size</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Structures</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>The chosen model outlines no organ with a left and a right one.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>The model that these buttons are about.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>The side to be outlined. Of a crop around one organ: which one it shows.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>There is no model; import one in the section Models.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>Wait until this model has been read.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>What is to be outlined, in which kind of scan.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>a .zip file</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>a folder</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>comes with MedLLMSeg</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>diagnoses</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>one of yours</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>outlines</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>{model} comes with MedLLMSeg and stays.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>{size} MB</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>{title} (too large)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/models_view.py"/>
        <source>{title}: {does}, {size} MB, {whose}.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.panel_texts</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>Back onto the scan's grid</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>Finishing</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>It can be read in full with Licence in the section Models; accepting it once is enough.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>Judging the image</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>Loading the model</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>Looking for the evidence</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>Looking for the organ</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>Outlining</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>Python packages are being installed: {what}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>Python packages are missing, and would be installed into Slicer once:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>Reading the scan</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>Starting Python</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>The model "{model}" is under the licence {licence}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>They come from the internet; Slicer's own packages stay as they are, and nothing of yours is sent.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>Waiting for the run before this one</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>Writing the result</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>about {hours} h left</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>about {minutes} min left</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>about {seconds} s left</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>fits: {text}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>in smaller tiles</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>left side</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>may not fit: {text}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>on the CPU</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>right side</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/panel_texts.py"/>
        <source>this takes minutes</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.person_view</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/person_view.py"/>
        <source>Of the person whose heart it is: volumes and mass are then also given by body surface. They are not saved with the scene, and are forgotten when another scan is chosen.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.quality_view</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/quality_view.py"/>
        <source>Quality amber: look closely</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/quality_view.py"/>
        <source>Quality green: nothing unusual</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/quality_view.py"/>
        <source>Quality red: do not rely on it</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.segment_view</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Accept and segment</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Accept the model's licence, and then segment.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>All scans' volumes are in the table {name}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Bring back what the last run overwrote.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Cancelled; the scene is as it was.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Cancelled; {done} of {count} scans had been segmented, and stay so.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Choose a model.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Choose a scan as the input volume.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Choose an input volume and a model.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Copy a command that does the same in a terminal.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Copy lines that do the same in Slicer's Python console.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Copy the table to the clipboard, for a spreadsheet.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Copy what was measured, in plain sentences.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Download Slicer's sample MRI of a head (4 MB) and choose it as the input volume.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Install and segment</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Install these packages into Slicer, and then segment.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>It failed; the scene is as it was.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Load a scan, or the sample head, and choose it as the input volume.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Load sample head (MRHead)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Loading MRHead...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Mean confidence</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Neither install nor accept anything.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Open {segmentation} in the Segment Editor, over its scan.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Outline {structures} in {scan}, inside {region}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Outline {structures} in {scan}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Press Segment once more to map how unsure the model is.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Segment</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Segment {count} scans</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Show how unsure the model is, over the scan.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Shown is {name}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Structure</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>There are no sentences: they are about one scan that was just segmented.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>There is no model; import one in the section Models.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>There is no table.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>There is nothing to bring back: the last run overwrote no segmentation.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>Volume (mL)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>every scan of the scene</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>{done} of {count} scans were segmented in {seconds} s.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>{name}: 1 structure in {seconds} s.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>{name}: {count} structures in {seconds} s.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/segment_view.py"/>
        <source>{scan} failed: {reason}</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.stored_view</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>Delete what is selected from disk; asks first.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>Delete {what} from disk ({size})?</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>Fetched layers of language models</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>Fetched vision encoders</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>It has to be imported again to be used.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>Kept on this computer: {size}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>Logs</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>Measurements of precision</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>Model {title}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>Models that need one of them will ask for it to be fetched again.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>Networks for other engines</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>Select a row of the table.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>The next scan on each model is measured again.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>The next training that needs one fetches it again.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>They are made again when another engine is used.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>They hold copies of scans. A training that was stopped will begin anew; one that is running stays.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>Unfinished trainings, with scans</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>{size} MB</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/stored_view.py"/>
        <source>{what}: deleted.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.suggestion</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/suggestion.py"/>
        <source>it is a series over time</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/suggestion.py"/>
        <source>its DICOM tag says {modality}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/suggestion.py"/>
        <source>its grey values are those of {modality}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/suggestion.py"/>
        <source>its name or description says {words}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/suggestion.py"/>
        <source>its name says {words}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/suggestion.py"/>
        <source>its slices are {mm} mm apart</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/suggestion.py"/>
        <source>size and voxels are as in the training</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/suggestion.py"/>
        <source>size is as in the training</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/suggestion.py"/>
        <source>voxels are as in the training</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/suggestion.py"/>
        <source>{first} and {last}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/suggestion.py"/>
        <source>{model} suits {scan}: {reasons}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/suggestion.py"/>
        <source>{scan} seems to be {of_scan}, and this model was trained on {of_model}.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.task_button</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>A model is being trained; wait for it, or cancel it in the section Train.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>A scan is being segmented; wait for it, or cancel it.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>A structure is being explained; wait for it, or cancel it.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>An image is being diagnosed; wait for it, or cancel it in the section Diagnose.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>Cancel</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>Cancelling...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>How strongly the map's colours are laid over the scan.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>Installing...</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>It is being stopped, which takes 15 seconds at most.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>Python packages are being installed; this takes minutes.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>Python packages are being installed; wait for it.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>Stop the download; nothing is installed.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>Stop the training; no model is made.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>Stop; the scene stays as it is.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/task_button.py"/>
        <source>Wait until the run has ended.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.train_view</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Accept and go on</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Accept and train</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Accept the licence of the model that it began with, and then go on.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Accept the licence of the model to start from, and then train.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Add at least {count} pairs of a volume and its segmentation; ten or more give a useful model.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Add every segmentation of the scene with the volume that it was drawn on.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Add this volume and this segmentation to the list.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Cancelled; no model was made.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Choose a volume and a segmentation that are not in the list yet.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Discard what was trained so far of {names}, and remove the copies of the scans?</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Discarded.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Give the new model a name.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Go on</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Install and go on</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Install and train</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Install these packages, and then go on.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Install these packages, and then train.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Neither install nor accept anything.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Not finished, but saved: {names}. Go on continues {first} from there, with the scans and settings that it began with. Until then copies of the scans are kept (Discard removes them).</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Nothing (new weights)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Remove the trainings that were not finished, and their copies of scans: {names}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Select a pair in the list.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Show the learning curve in Slicer's plot view.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Still in use, and not discarded: {names}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Take the selected pair out of the list.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>The learning curve appears when a training has begun.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>The model is ready, and chosen above.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>The training failed.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>There is a model of this name already; choose another name.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Train</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Train a model on these pairs, on this computer.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>Train {model} on from where it was last saved; its scene is not needed.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>With the same pairs and settings, Train goes on from where it was last saved; until then copies of the scans are kept in "{folder}" (Discard removes them).</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>loss {loss}</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/train_view.py"/>
        <source>validation Dice {now}, best {best}</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>presenter.volumetry_view</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>; {low} to {high} mL in most such scans</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>; {percent} % of the intracranial volume</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>Asymmetry (%)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>Expected Dice</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>Group</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>Intracranial volume (%)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>Intracranial volume not available: {reason}.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>Intracranial volume {ml} mL.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>L</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>Mean confidence</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>R</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>Structure</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>The model expects a low Dice ({dice}) of {name}: look at this outline first.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>Volume (mL)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/presenter/volumetry_view.py"/>
        <source>{name}; mean confidence {confidence}</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>selftest.view_steps</name>
    <message>
        <location filename="MedLLMSegLib/slicer_bridge/selftest/view_steps.py"/>
        <source>Cancel</source>
        <translation type="unfinished"></translation>
    </message>
</context>
</TS>
